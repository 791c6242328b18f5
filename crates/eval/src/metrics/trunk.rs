//! The convolutions of AlexNet (Krizhevsky, 2014) and VGG-16 (Simonyan and Zisserman, 2015) in five stages, as LPIPS looks at
//! them, and their shift-tolerant forms (Ghildyal and Liu, 2022), which blur before they leave out pixels.

use burn::tensor::module::max_pool2d;
use burn::tensor::ops::{MaxPoolOptions, PadMode};
use burn::tensor::{Device, Slice, Tensor, activation};
use vipaint_nn::ops::{PackedConv, Values, conv2d_frozen};
use vipaint_zoo::Source;

use crate::{Error, Result};

/// A step of a stage.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// A convolution and a ReLU: its number in the original's list, output channels, kernel, stride, padding.
    Conv(usize, usize, usize, usize, usize),
    /// As `Conv`, with a blur between the two.
    ConvBlur(usize, usize, usize, usize, usize),
    /// A maximum: side and stride.
    Pool(usize, usize),
    /// A blur that halves the sides.
    Blur,
}

use Step::{Blur, Conv, ConvBlur, Pool};

/// Five stages.
type Plan = [&'static [Step]; 5];

pub(super) const ALEX: Plan = [
    &[Conv(0, 64, 11, 4, 2)],
    &[Pool(3, 2), Conv(3, 192, 5, 1, 2)],
    &[Pool(3, 2), Conv(6, 384, 3, 1, 1)],
    &[Conv(8, 256, 3, 1, 1)],
    &[Conv(10, 256, 3, 1, 1)],
];
pub(super) const SHIFT_TOLERANT_ALEX: Plan = [
    &[ConvBlur(0, 64, 11, 1, 2)],
    &[Pool(3, 1), Blur, Conv(5, 192, 5, 1, 2)],
    &[Pool(3, 1), Blur, Conv(9, 384, 3, 1, 1)],
    &[Conv(11, 256, 3, 1, 1)],
    &[Conv(13, 256, 3, 1, 1)],
];
pub(super) const VGG: Plan = [
    &[Conv(0, 64, 3, 1, 1), Conv(2, 64, 3, 1, 1)],
    &[Pool(2, 2), Conv(5, 128, 3, 1, 1), Conv(7, 128, 3, 1, 1)],
    &[Pool(2, 2), Conv(10, 256, 3, 1, 1), Conv(12, 256, 3, 1, 1), Conv(14, 256, 3, 1, 1)],
    &[Pool(2, 2), Conv(17, 512, 3, 1, 1), Conv(19, 512, 3, 1, 1), Conv(21, 512, 3, 1, 1)],
    &[Pool(2, 2), Conv(24, 512, 3, 1, 1), Conv(26, 512, 3, 1, 1), Conv(28, 512, 3, 1, 1)],
];
pub(super) const SHIFT_TOLERANT_VGG: Plan = [
    &[Conv(0, 64, 3, 1, 1), Conv(2, 64, 3, 1, 1)],
    &[Pool(2, 1), Blur, Conv(6, 128, 3, 1, 1), Conv(8, 128, 3, 1, 1)],
    &[Pool(2, 1), Blur, Conv(12, 256, 3, 1, 1), Conv(14, 256, 3, 1, 1), Conv(16, 256, 3, 1, 1)],
    &[Pool(2, 1), Blur, Conv(20, 512, 3, 1, 1), Conv(22, 512, 3, 1, 1), Conv(24, 512, 3, 1, 1)],
    &[Pool(2, 1), Blur, Conv(28, 512, 3, 1, 1), Conv(30, 512, 3, 1, 1), Conv(32, 512, 3, 1, 1)],
];

/// Half of the blur's reach beyond the edges, where the picture is mirrored.
const MARGIN: usize = 2;

/// The stages, for pictures of one size.
#[derive(Debug, Clone)]
pub(super) struct Trunk {
    stages: Vec<Vec<Layer>>,
}

#[derive(Debug, Clone)]
enum Layer {
    Conv(PackedConv),
    Relu,
    Pool { side: usize, stride: usize },
    Blur,
}

impl Trunk {
    /// With weights from `source`, named by `name(stage, number)` (stages count from 1), on a device, for pictures of `sides`
    /// height and width.
    pub fn new(
        plan: &Plan,
        source: &dyn Source,
        name: impl Fn(usize, usize) -> String,
        sides: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        let small = || Error::TooSmall { height: sides[0], width: sides[1] };
        let (mut now, mut channels, mut stages) = (sides, 3, Vec::new());
        for (stage, steps) in (1..).zip(plan) {
            let mut layers = Vec::new();
            for step in *steps {
                match *step {
                    Conv(number, c_out, kernel, stride, padding) | ConvBlur(number, c_out, kernel, stride, padding) => {
                        let after = shrunk(now, padding, kernel, stride).ok_or_else(small)?;
                        let name = name(stage, number);
                        let weight = source.tensor(&format!("{name}.weight"), &[c_out, channels, kernel, kernel])?;
                        let bias = source.tensor(&format!("{name}.bias"), &[c_out])?;
                        let values = Values { weight: &weight, bias: Some(&bias), device, half: false };
                        let shape = [c_out, channels, kernel];
                        layers.push(Layer::Conv(PackedConv::from_values(values, shape, stride, padding, now)));
                        (now, channels) = (after, c_out);
                        if matches!(step, ConvBlur(..)) {
                            layers.push(Layer::Blur);
                            now = blurred(now).ok_or_else(small)?;
                        }
                        layers.push(Layer::Relu);
                    }
                    Pool(side, stride) => {
                        layers.push(Layer::Pool { side, stride });
                        now = shrunk(now, 0, side, stride).ok_or_else(small)?;
                    }
                    Blur => {
                        layers.push(Layer::Blur);
                        now = blurred(now).ok_or_else(small)?;
                    }
                }
            }
            stages.push(layers);
        }
        Ok(Self { stages })
    }

    /// What each stage makes of pictures. // [batch, height, width, channels]
    pub fn forward(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = x;
        let mut stage = |layers: &Vec<Layer>| {
            x = layers.iter().fold(x.clone(), |x, layer| layer.forward(x));
            x.clone()
        };
        self.stages.iter().map(&mut stage).collect()
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Conv(packed) => conv2d_frozen(x, packed, None),
            Self::Relu => activation::relu(x),
            Self::Pool { side, stride } => {
                let mut options = MaxPoolOptions::new([*side; 2]);
                options.stride = [*stride; 2];
                max_pool2d(x.permute([0, 3, 1, 2]), options).permute([0, 2, 3, 1])
            }
            Self::Blur => {
                let margin = (MARGIN, MARGIN);
                halve(&halve(&x.pad([(0, 0), margin, margin, (0, 0)], PadMode::Reflect), 1), 2)
            }
        }
    }
}

/// Every second of the means with weights 1/4, 1/2, 1/4 along a dimension.
fn halve(x: &Tensor<4>, dimension: usize) -> Tensor<4> {
    let steps = (x.dims()[dimension] - 3) / 2; // between the first and the last that is kept
    let tap = |from: usize| {
        let end = from + 2 * steps + 1;
        x.clone().slice_dim(dimension, Slice::new(from as isize, Some(end as isize), 2))
    };
    (tap(0) + tap(2)) * 0.25 + tap(1) * 0.5
}

fn shrunk(sides: [usize; 2], padding: usize, kernel: usize, stride: usize) -> Option<[usize; 2]> {
    let fits = sides.iter().all(|side| side + 2 * padding >= kernel);
    fits.then(|| sides.map(|side| (side + 2 * padding - kernel) / stride + 1))
}

fn blurred(sides: [usize; 2]) -> Option<[usize; 2]> {
    // A mirror needs more pixels than it shows.
    sides.iter().all(|side| *side > MARGIN).then(|| sides.map(|side| (side + 2 * MARGIN - 3) / 2 + 1))
}
