//! Decoding of large latents tile by tile.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_nn::ops::{External, external};

use super::WholeDecoder;

/// Decodes overlapping tiles and blends them, in proportion to the distance from their edges: no step is larger than what two
/// tiles differ by, divided by the width of their overlap. Tiles differ a little from a whole picture, because normalisation
/// and attention see less of it.
///
/// Only one tile's features are in memory, also while a gradient is taken: its forward pass is then made again.
#[derive(Debug, Clone)]
pub struct Tiled {
    tile: Arc<Tile>,
}

#[derive(Debug)]
struct Tile {
    decoder: WholeDecoder,
    /// Channels and side of latents.
    z: [usize; 2],
    /// Channels and side of pictures.
    x: [usize; 2],
    /// Side of a tile of latents.
    side: usize,
    /// First row (and column) of each tile, in latents.
    starts: Vec<usize>,
    /// Weight of each row (and column) of a picture in each tile; those of all tiles add up to 1.
    weights: Vec<Vec<f32>>,
}

/// The part of a tile that overlaps the next one, at least.
const OVERLAP: usize = 4;

/// Tiles of side `tile` over `side`: as few as overlap enough, evenly spaced.
fn starts(side: usize, tile: usize) -> Vec<usize> {
    let step = (tile - tile / OVERLAP).max(1);
    let last = (side - tile).div_ceil(step).max(1);
    (0..=last).map(|i| (i * (side - tile) + last / 2) / last).collect()
}

/// Hats over the tiles, divided by their sum.
fn weights(starts: &[usize], tile: usize, side: usize) -> Vec<Vec<f32>> {
    let end = side - tile;
    let hat = |start: usize, i: usize| {
        let (before, after) = (i as f32 + 0.5, (tile - i) as f32 - 0.5);
        // The edges of the picture are no seams.
        let before = if start == 0 { tile as f32 } else { before };
        let after = if start == end { tile as f32 } else { after };
        // Up to the middle of a tile, which is beyond any overlap of two evenly spaced ones.
        before.min(after).min(tile as f32 / 2.0)
    };
    let mut sum = vec![0f32; side];
    for start in starts {
        (0..tile).for_each(|i| sum[start + i] += hat(*start, i));
    }
    starts.iter().map(|start| (0..tile).map(|i| hat(*start, i) / sum[start + i]).collect()).collect()
}

impl Tiled {
    /// `decoder` is for latents of side `tile`, less than `side`.
    pub fn new(decoder: WholeDecoder, tile: usize, side: usize) -> Self {
        let config = &decoder.config;
        let (factor, z, x) = (config.factor(), config.embed_dim, config.in_channels);
        let starts = starts(side, tile);
        let pixels: Vec<usize> = starts.iter().map(|start| start * factor).collect();
        let weights = weights(&pixels, tile * factor, side * factor);
        let tile = Tile { z: [z, side], x: [x, side * factor], side: tile, starts, weights, decoder };
        Self { tile: Arc::new(tile) }
    }

    /// Pictures.
    #[allow(clippy::needless_pass_by_value, reason = "as of every decoder")]
    pub fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let [channels, side] = self.tile.x;
        let shape = [z.dims()[0], channels, side, side];
        // Other devices put the same together in Burn's own operations, which keep all tiles' features for a gradient.
        external(z.clone(), self.tile.clone(), shape).unwrap_or_else(|| self.tile.blend(&z))
    }
}

impl Tile {
    /// Rows and columns at which tiles start, by their index.
    fn places(&self) -> impl Iterator<Item = [usize; 2]> {
        let n = self.starts.len();
        (0..n * n).map(move |i| [i / n, i % n])
    }

    /// The ranges of a tile in latents, or in pictures.
    fn ranges(&self, place: [usize; 2], factor: usize) -> [Range<usize>; 2] {
        place.map(|i| self.starts[i] * factor..(self.starts[i] + self.side) * factor)
    }

    /// What a tile of latents adds to pictures. // [batch, channels, tile, tile]
    fn share(&self, z: Tensor<4>, [row, column]: [usize; 2]) -> Tensor<4> {
        let x = self.decoder.decode(z);
        let (n, device) = (x.dims()[2], x.device());
        let along = |i: usize, shape: [usize; 4]| {
            Tensor::<4>::from_data(TensorData::new(self.weights[i].clone(), shape), &device)
        };
        x.clone() * along(row, [1, 1, n, 1]) * along(column, [1, 1, 1, n])
    }

    fn blend(&self, z: &Tensor<4>) -> Tensor<4> {
        let ([batch, ..], [channels, side]) = (z.dims(), self.x);
        let whole = Tensor::zeros([batch, channels, side, side], &z.device());
        self.places().fold(whole, |whole, place| {
            let [rows, columns] = self.ranges(place, 1);
            let share = self.share(z.clone().slice([0..batch, 0..self.z[0], rows, columns]), place);
            let [rows, columns] = self.ranges(place, self.decoder.config.factor());
            let at = [0..batch, 0..channels, rows, columns];
            whole.clone().slice_assign(at.clone(), whole.slice(at) + share)
        })
    }

    /// A part of one sample `[channels, side, side]`.
    fn cut(sample: &[f32], [channels, side]: [usize; 2], [rows, columns]: &[Range<usize>; 2]) -> Tensor<4> {
        let row = |c: usize, y: usize| &sample[(c * side + y) * side..][columns.clone()];
        let values = (0..channels).flat_map(|c| rows.clone().flat_map(move |y| row(c, y))).copied().collect();
        Tensor::from_data(TensorData::new(values, [1, channels, rows.len(), columns.len()]), &Device::flex())
    }

    /// Adds a part to one sample.
    fn add(sample: &mut [f32], side: usize, [rows, columns]: &[Range<usize>; 2], part: &Tensor<4>) {
        // Every tensor of the engine is a readable float tensor.
        let part = part.try_to_vec_as::<f32>().unwrap_or_default();
        for (i, values) in part.chunks_exact(columns.len()).enumerate() {
            let (c, y) = (i / rows.len(), rows.start + i % rows.len());
            let line = &mut sample[(c * side + y) * side..][columns.clone()];
            line.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    /// Numbers of a sample.
    fn lengths(&self) -> [usize; 2] {
        [self.z, self.x].map(|[channels, side]| channels * side * side)
    }
}

impl External for Tile {
    fn forward(&self, z: &[f32], x: &mut [f32]) {
        let ([from, to], factor) = (self.lengths(), self.decoder.config.factor());
        for (z, x) in z.chunks_exact(from).zip(x.chunks_exact_mut(to)) {
            for place in self.places() {
                let share = self.share(Self::cut(z, self.z, &self.ranges(place, 1)), place);
                Self::add(x, self.x[1], &self.ranges(place, factor), &share);
            }
        }
    }

    fn vjp(&self, z: &[f32], v: &[f32], dz: &mut [f32]) {
        let ([from, to], factor) = (self.lengths(), self.decoder.config.factor());
        for ((z, v), dz) in z.chunks_exact(from).zip(v.chunks_exact(to)).zip(dz.chunks_exact_mut(from)) {
            for place in self.places() {
                let leaf = Self::cut(z, self.z, &self.ranges(place, 1)).autodiff().require_grad();
                let v = Self::cut(v, self.x, &self.ranges(place, factor)).autodiff();
                let mut gradients = (self.share(leaf.clone(), place) * v).sum().backward();
                if let Some(gradient) = leaf.grad_remove(&mut gradients) {
                    Self::add(dz, self.z[1], &self.ranges(place, 1), &gradient);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Loader, RandomWeights, Source, autoencoder};

    #[test]
    fn weights_add_up_to_one_and_tiles_cover_everything() {
        for (side, tile) in [(128, 64), (96, 64), (65, 64), (17, 5), (9, 2), (4, 1), (300, 64)] {
            let starts = starts(side, tile);
            assert_eq!((starts[0], starts[starts.len() - 1] + tile), (0, side));
            let overlaps = |w: &[usize]| w[0] < w[1] && w[1] + tile / OVERLAP <= w[0] + tile;
            assert!(starts.windows(2).all(overlaps), "{side} {tile} {starts:?}");
            let mut sum = vec![0f32; side];
            for (start, weights) in starts.iter().zip(weights(&starts, tile, side)) {
                assert!(weights.iter().all(|weight| *weight > 0.0));
                weights.iter().enumerate().for_each(|(i, weight)| sum[start + i] += weight);
            }
            assert!(sum.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{side} {tile}");
        }
    }

    fn config(tile: Option<usize>) -> autoencoder::Config {
        autoencoder::Config { ch: 32, ch_mult: vec![1, 1], num_res_blocks: 1, tile, ..Default::default() }
    }

    fn decoder(tile: Option<usize>) -> autoencoder::LatentDecoder {
        config(tile).build_decoder(&Loader::new(&RandomWeights::default(), &Device::flex()), 12).unwrap()
    }

    fn noise(seed: u64, shape: [usize; 4]) -> Tensor<4> {
        // One row for each number: weights with a fan-in of 1 have a variance of 1.
        let values = RandomWeights { seed }.tensor("z", &[shape.iter().product(), 1]).unwrap();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    fn values(x: &Tensor<4>) -> Vec<f32> {
        x.to_data().iter::<f32>().collect()
    }

    /// `f(z)` and the gradient of `<v, f(z)>`.
    fn with_vjp(f: impl Fn(Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 2] {
        let leaf = noise(1, [2, 4, 12, 12]).autodiff().require_grad();
        let x = f(leaf.clone());
        let plain = values(&x.clone().inner());
        let mut gradients = (x * noise(2, [2, 3, 24, 24]).autodiff()).sum().backward();
        [plain, values(&leaf.grad_remove(&mut gradients).unwrap())]
    }

    /// The blend in Burn's own operations, with its own gradient, is the oracle. Differences are those of the order of sums.
    #[test]
    fn tiles_and_their_gradients_are_those_of_the_blend_in_burns_operations() {
        let tiled = decoder(Some(8));
        let autoencoder::LatentDecoder::Tiled(inner) = &tiled else { panic!("it is tiled") };
        let got = with_vjp(|z| tiled.decode(z));
        let expected = with_vjp(|z| inner.tile.blend(&z));
        for (got, expected) in got.iter().zip(&expected) {
            let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5 * scale));
        }
    }

    /// No step across a seam is larger than those inside of the whole picture: a smooth latent has no seams.
    #[test]
    fn a_smooth_latent_is_decoded_without_seams() {
        let plane = |i: usize| ((i % 12) as f32 * 0.11 + (i / 12 % 12) as f32 * 0.07).sin();
        let z = (0..4 * 144).map(plane).collect();
        let z = Tensor::<4>::from_data(TensorData::new(z, [1, 4, 12, 12]), &Device::flex());
        let [whole, tiled] = [None, Some(8)].map(|tile| values(&decoder(tile).decode(z.clone())));
        let steps = |x: &[f32]| -> f32 {
            let step = |i: usize| if i.is_multiple_of(24) { 0.0 } else { (x[i] - x[i - 1]).abs() };
            (0..x.len()).map(step).fold(0.0, f32::max)
        };
        assert!(steps(&tiled) < 1.25 * steps(&whole), "{} {}", steps(&tiled), steps(&whole));
    }

    #[test]
    fn latents_no_larger_than_a_tile_are_decoded_whole() {
        let z = noise(1, [1, 4, 12, 12]);
        assert_eq!(values(&decoder(Some(12)).decode(z.clone())), values(&decoder(None).decode(z)));
    }
}
