//! A small classifier of 32x32 grey pictures, which judges whether samples are of the class they should be.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};
use vipaint_nn::layers::{Conv2d, GroupNorm, Init, Linear, to_patches, weights};
use vipaint_nn::ops::GroupNormTail;

use crate::Result;

/// Side of the pictures.
pub const SIZE: usize = 32;
/// Classes it tells apart.
pub const CLASSES: usize = 10;
const WIDTHS: [usize; 3] = [32, 64, 64];
const GROUP: usize = 8;

/// Convolution, group normalisation, SiLU.
#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: GroupNorm,
}

impl Layer {
    fn new(c_in: usize, c_out: usize, stride: usize, init: &mut Init) -> Self {
        Self { conv: Conv2d::new(c_in, c_out, 3, stride, init), norm: GroupNorm::new(c_out, c_out / GROUP, init) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x), GroupNormTail { modulation: None, silu: true })
    }
}

/// The network: 2x2 patches, two layers at each of 16x16, 8x8 and 4x4, an average over the positions, and a linear map.
#[derive(Module, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    out: Linear,
}

impl Network {
    /// With weights from `init`.
    pub fn new(init: &mut Init) -> Self {
        let [a, b, c] = WIDTHS;
        let layers = [(4, a, 1), (a, a, 1), (a, b, 2), (b, b, 1), (b, c, 2), (c, c, 1)];
        let layers = layers.map(|(c_in, c_out, stride)| Layer::new(c_in, c_out, stride, init)).to_vec();
        Self { layers, out: Linear::zero(c, CLASSES, init) }
    }

    /// Logits `[batch, CLASSES]` of pictures `[batch, 1, SIZE, SIZE]` with values in `[-1, 1]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let h = self.layers.iter().fold(to_patches(x, 2), |h, layer| layer.forward(h));
        let [b, h_, w, c] = h.dims();
        self.out.forward(h.reshape([b, h_ * w, c]).mean_dim(1).reshape([b, c]))
    }
}

/// A trained [`Network`].
#[derive(Debug, Clone)]
pub struct Classifier {
    network: Network,
}

impl Classifier {
    /// Reads the weights from a safetensors file's bytes.
    ///
    /// # Errors
    /// [`vipaint_zoo::Error`] names the tensor that is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let device = Device::flex();
        let blank = Network::new(&mut Init::blank(&device));
        let values = vipaint_zoo::read_weights(bytes, &weights::entries(&blank))?;
        Ok(Self { network: weights::scatter(blank, &values, &device) })
    }

    /// The safetensors file (f16) of a network's weights, in the order of [`weights::entries`].
    ///
    /// # Errors
    /// If a weight leaves the range of f16.
    pub fn to_bytes(values: &[f32]) -> Result<Vec<u8>> {
        let entries = weights::entries(&Network::new(&mut Init::blank(&Device::flex())));
        Ok(vipaint_zoo::write_weights(&entries, values, &[])?)
    }

    /// Class probabilities `[batch, CLASSES]` of pictures `[batch, 1, SIZE, SIZE]` with values in `[-1, 1]`; values
    /// outside are clamped.
    pub fn classify(&self, images: Tensor<4>) -> Tensor<2> {
        activation::softmax(self.network.forward(images.clamp(-1.0, 1.0)), 1)
    }

    /// The most probable class of each picture; `values` are all pictures, one after the other.
    pub fn classes(&self, values: &[f32]) -> Vec<usize> {
        const BATCH: usize = 50;
        let mut classes = Vec::new();
        for chunk in values.chunks(BATCH * SIZE * SIZE) {
            let count = chunk.len() / (SIZE * SIZE);
            let data = TensorData::new(chunk[..count * SIZE * SIZE].to_vec(), [count, 1, SIZE, SIZE]);
            let probabilities = self.classify(Tensor::from_data(data, &Device::flex())).into_data();
            let probabilities: Vec<f32> = probabilities.iter::<f32>().collect();
            classes.extend(
                probabilities
                    .chunks_exact(CLASSES)
                    .map(|row| (0..CLASSES).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap_or(0)),
            );
        }
        classes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classifier() -> Classifier {
        let values = weights::gather(&Network::new(&mut Init::seeded(&Device::flex(), 1)));
        let values: Vec<f32> = values.iter().zip(0..).map(|(v, i)| v + 0.05 * (i as f32).sin()).collect();
        Classifier::from_bytes(&Classifier::to_bytes(&values).unwrap()).unwrap()
    }

    #[test]
    fn probabilities_add_up_and_do_not_depend_on_the_batch() {
        let values: Vec<f32> = (0..3 * SIZE * SIZE).map(|i| (i as f32 * 0.7).sin()).collect();
        let classify = |values: &[f32]| -> Vec<f32> {
            let data = TensorData::new(values.to_vec(), [values.len() / (SIZE * SIZE), 1, SIZE, SIZE]);
            classifier().classify(Tensor::from_data(data, &Device::flex())).into_data().iter::<f32>().collect()
        };
        let together = classify(&values);
        for (i, picture) in values.chunks(SIZE * SIZE).enumerate() {
            let alone = classify(picture);
            assert!((alone.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(alone == together[i * CLASSES..(i + 1) * CLASSES]);
        }
    }

    #[test]
    fn wrong_files_are_refused() {
        assert!(Classifier::from_bytes(b"no such format").is_err());
        let all = weights::entries(&Network::new(&mut Init::blank(&Device::flex())));
        let values = vec![0.0; all.iter().map(weights::Entry::len).sum()];
        let file = vipaint_zoo::write_weights(&all[1..], &values, &[]).unwrap();
        let problem = Classifier::from_bytes(&file).err().unwrap().to_string();
        assert!(problem.contains("missing tensors") && problem.contains(&all[0].name), "{problem}");
    }
}
