//! Random streams: one for every sample, keyed by (seed, purpose, sample index), so that a sample depends neither on
//! the batch it is drawn in nor on how many others are drawn.

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A stream for each sample of a batch.
#[derive(Debug, Clone)]
pub struct Noise {
    streams: Vec<ChaCha8Rng>,
}

/// The stream of one sample. `purpose` separates independent uses of the same seed (fitting, sampling, ...).
pub fn stream(seed: u64, purpose: u64, index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&purpose.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(index);
    rng
}

impl Noise {
    /// Streams for the samples `indices`.
    pub fn new(seed: u64, purpose: u64, indices: impl IntoIterator<Item = usize>) -> Self {
        Self { streams: indices.into_iter().map(|i| stream(seed, purpose, i as u64)).collect() }
    }

    /// How many samples there are.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Keeps the first `n` streams.
    pub fn truncate(&mut self, n: usize) {
        self.streams.truncate(n);
    }

    /// These streams, followed by those of `all` that they are not the first of.
    #[must_use]
    pub fn joined(mut self, all: Self) -> Self {
        self.streams.extend(all.streams.into_iter().skip(self.streams.len()));
        self
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Standard normal noise, `[samples, c, h, w]` for the shape `[c, h, w]` of one sample.
    pub fn normal(&mut self, shape: [usize; 3], device: &Device) -> Tensor<4> {
        let [c, h, w] = shape;
        let mut values: Vec<f32> = Vec::with_capacity(self.len() * c * h * w);
        for stream in &mut self.streams {
            values.extend(StandardNormal.sample_iter(stream).take(c * h * w).map(|x: f64| x as f32));
        }
        Tensor::from_data(TensorData::new(values, [self.len(), c, h, w]), device)
    }

    /// One uniform number in [0, 1) a sample.
    pub fn uniform(&mut self) -> Vec<f64> {
        use rand::RngExt;
        self.streams.iter_mut().map(RngExt::random).collect()
    }
}
