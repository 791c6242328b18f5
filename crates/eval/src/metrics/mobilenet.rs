//! MobileNetV2 (Sandler, Howard, Zhu, Zhmoginov, Chen, 2018) without its classifier: features for distances between sets of
//! pictures. Its weights are small and freely licensed, unlike the usual Inception network's; distances in one network's
//! features do not compare with distances in another's.

use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Slice, Tensor, TensorData};
use vipaint_nn::ops::{PackedConv, Values, conv2d_frozen};
use vipaint_zoo::Source;

use super::Features;
use crate::Result;

/// Side of the pictures it looks at.
pub const SIDE: usize = 224;
/// Features of a picture.
pub const WIDTH: usize = 1280;
/// Mean and standard deviation of its input, of values in [0, 1].
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// Of batch normalisation.
const EPS: f32 = 1e-5;
/// Table 2 of the paper: expansion, channels, repetitions, stride of the first.
const BLOCKS: [[usize; 4]; 7] =
    [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]];

/// The network.
#[derive(Debug, Clone)]
pub struct MobileNet {
    blocks: Vec<Block>,
}

/// Layers, and whether their input is added to their result.
#[derive(Debug, Clone)]
struct Block {
    layers: Vec<Layer>,
    skip: bool,
}

/// A convolution with its batch normalisation folded in.
#[derive(Debug, Clone)]
struct Layer {
    map: Map,
    /// Whether it ends in `min(max(x, 0), 6)`.
    clip: bool,
}

#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "a network has a few dozen of them")]
enum Map {
    Dense(PackedConv),
    /// A 3x3 kernel for each channel. // [9, channels], [channels]
    Depthwise {
        weight: Tensor<2>,
        bias: Tensor<1>,
        stride: usize,
    },
}

impl MobileNet {
    /// With weights from torchvision's checkpoint.
    ///
    /// # Errors
    /// [`vipaint_zoo::Error`] names the tensor that is missing or of another shape.
    pub fn new(source: &dyn Source) -> Result<Self> {
        let mut side = SIDE / 2;
        let stem = dense(source, &["features.0.0".into(), "features.0.1".into()], [3, 32, 3, 2], SIDE, true)?;
        let (mut blocks, mut c_in) = (vec![Block { layers: vec![stem], skip: false }], 32);
        for [expansion, c_out, repetitions, first] in BLOCKS {
            for i in 0..repetitions {
                let stride = if i == 0 { first } else { 1 };
                let at = format!("features.{}.conv", blocks.len());
                let hidden = c_in * expansion;
                let (mut layers, mut next) = (Vec::new(), 0);
                if expansion > 1 {
                    let names = &[format!("{at}.0.0"), format!("{at}.0.1")];
                    layers.push(dense(source, names, [c_in, hidden, 1, 1], side, true)?);
                    next = 1;
                }
                layers.push(depthwise(source, &format!("{at}.{next}"), hidden, stride)?);
                side /= stride;
                let names = &[format!("{at}.{}", next + 1), format!("{at}.{}", next + 2)];
                layers.push(dense(source, names, [hidden, c_out, 1, 1], side, false)?);
                blocks.push(Block { layers, skip: stride == 1 && c_in == c_out });
                c_in = c_out;
            }
        }
        let names = &[format!("features.{}.0", blocks.len()), format!("features.{}.1", blocks.len())];
        let last = dense(source, names, [c_in, WIDTH, 1, 1], side, true)?;
        blocks.push(Block { layers: vec![last], skip: false });
        Ok(Self { blocks })
    }

    /// Features of pictures `[batch, 3, SIDE, SIDE]` in [-1, 1]: the means of the last layer over the picture.
    pub fn features(&self, x: Tensor<4>) -> Features {
        let constant =
            |values: [f32; 3]| Tensor::<4>::from_data(TensorData::new(values.to_vec(), [1, 1, 1, 3]), &x.device());
        let (mean, deviation) = (constant(MEAN), constant(DEVIATION));
        let x = ((x.permute([0, 2, 3, 1]) + 1.0) * 0.5 - mean) / deviation;
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let [batch, height, width, channels] = x.dims();
        let means = x.reshape([batch, height * width, channels]).mean_dim(1);
        // Whole rows, by their shape.
        Features::new(channels, means.into_data().iter::<f32>().collect()).unwrap_or_default()
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.layers.iter().fold(x.clone(), |x, layer| layer.forward(x));
        if self.skip { x + y } else { y }
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = match &self.map {
            Map::Dense(packed) => conv2d_frozen(x, packed, None),
            Map::Depthwise { weight, bias, stride } => {
                let [_, height, width, channels] = x.dims();
                let x = x.pad([(0, 0), (1, 1), (1, 1), (0, 0)], PadMode::Constant(0.0));
                let part = |x: Tensor<4>, dimension: usize, from: usize, side: usize| {
                    x.slice_dim(dimension, Slice::new(from as isize, Some((from + side) as isize), *stride as isize))
                };
                let start = bias.clone().reshape([1, 1, 1, channels]);
                (0..9).fold(start, |sum, i| {
                    let moved = part(part(x.clone(), 1, i / 3, height), 2, i % 3, width);
                    sum + moved * weight.clone().slice_dim(0, i..i + 1).reshape([1, 1, 1, channels])
                })
            }
        };
        if self.clip { y.clamp(0.0, 6.0) } else { y }
    }
}

/// A dense convolution: names of the kernel and of its normalisation; channels in and out, kernel, stride; the input's side.
fn dense(
    source: &dyn Source,
    [kernel, norm]: &[String; 2],
    shape: [usize; 4],
    side: usize,
    clip: bool,
) -> Result<Layer> {
    let [c_in, c_out, k, stride] = shape;
    let (weight, bias) = folded(source, kernel, norm, [c_out, c_in, k, k])?;
    let values = Values { weight: &weight, bias: Some(&bias), device: &Device::flex(), half: false };
    let packed = PackedConv::from_values(values, [c_out, c_in, k], stride, k / 2, [side; 2]);
    Ok(Layer { map: Map::Dense(packed), clip })
}

fn depthwise(source: &dyn Source, at: &str, channels: usize, stride: usize) -> Result<Layer> {
    let (weight, bias) = folded(source, &format!("{at}.0"), &format!("{at}.1"), [channels, 1, 3, 3])?;
    let weight = Tensor::<2>::from_data(TensorData::new(weight, [channels, 9]), &Device::flex()).transpose();
    let bias = Tensor::from_data(TensorData::new(bias, [channels]), &Device::flex());
    Ok(Layer { map: Map::Depthwise { weight, bias, stride }, clip: true })
}

/// Weights and bias of a convolution and the normalisation after it: `g (w * x - m) / sqrt(v + eps) + b`.
fn folded(source: &dyn Source, kernel: &str, norm: &str, shape: [usize; 4]) -> Result<(Vec<f32>, Vec<f32>)> {
    let mut weight = source.tensor(&format!("{kernel}.weight"), &shape)?;
    let part = |name: &str| source.tensor(&format!("{norm}.{name}"), &shape[..1]);
    let (gain, mut bias) = (part("weight")?, part("bias")?);
    let (mean, variance) = (part("running_mean")?, part("running_var")?);
    let size = weight.len() / shape[0];
    for (i, kernel) in weight.chunks_exact_mut(size).enumerate() {
        let scale = gain[i] / (variance[i] + EPS).sqrt();
        for value in kernel {
            *value *= scale;
        }
        bias[i] -= mean[i] * scale;
    }
    Ok((weight, bias))
}
