//! Learned perceptual image patch similarity (Zhang, Isola, Efros, Shechtman, Wang, 2018, eq. 1), and its shift-tolerant form
//! (Ghildyal and Liu, 2022): differentiable in the pictures, so it serves as a data term, too.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use vipaint_nn::layers::frozen::Linear;
use vipaint_nn::ops::Values;
use vipaint_zoo::Source;
use vipaint_zoo::formats::Checkpoint;

use super::trunk::{self, Trunk};
use crate::{Error, Result};

/// The network that looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LpipsKind {
    /// AlexNet.
    Alex,
    /// VGG-16.
    Vgg,
    /// AlexNet, shift-tolerant.
    ShiftTolerantAlex,
    /// VGG-16, shift-tolerant.
    ShiftTolerantVgg,
}

impl LpipsKind {
    /// Its name: `alex`, `vgg`, `st-alex` or `st-vgg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alex => "alex",
            Self::Vgg => "vgg",
            Self::ShiftTolerantAlex => "st-alex",
            Self::ShiftTolerantVgg => "st-vgg",
        }
    }

    /// Channels of the five stages.
    fn channels(self) -> [usize; 5] {
        match self {
            Self::Alex | Self::ShiftTolerantAlex => [64, 192, 384, 256, 256],
            Self::Vgg | Self::ShiftTolerantVgg => [64, 128, 256, 512, 512],
        }
    }
}

/// Mean and scale of the original's input, of values in [-1, 1].
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to norms.
const EPS: f64 = 1e-10;

/// Weights, whatever the pictures' size.
pub struct LpipsWeights {
    kind: LpipsKind,
    /// Whether stages are named as torchvision does, `features.N`, or as LPIPS does, `net.sliceM.N`.
    torchvision: bool,
    trunk: Checkpoint,
    heads: Option<Checkpoint>,
}

impl LpipsWeights {
    /// Reads a file of the whole metric (as the packages `lpips` and `stlpips-pytorch` store it), or one of torchvision's AlexNet
    /// or VGG-16, for which `heads` is asked: the file with the five weightings of that network.
    ///
    /// # Errors
    /// [`vipaint_zoo::Error`] when the file is not such a one; those of `heads`.
    pub fn open<E: From<Error>>(
        path: &Path,
        heads: impl FnOnce(LpipsKind) -> Result<Checkpoint, E>,
    ) -> Result<Self, E> {
        let trunk = Checkpoint::open(path).map_err(|error| Error::from(vipaint_zoo::Error::from(error)))?;
        let torchvision = trunk.get("features.0.weight").is_ok();
        let first = if torchvision { "features.0.weight" } else { "net.slice1.0.weight" };
        let first = trunk.get(first).map_err(|error| Error::from(vipaint_zoo::Error::from(error)))?;
        let tolerant = trunk.names().any(|name| name.rsplit('.').next() == Some("filt"));
        let kind = match (first.shape(), tolerant) {
            ([64, 3, 11, 11], false) => LpipsKind::Alex,
            ([64, 3, 11, 11], true) => LpipsKind::ShiftTolerantAlex,
            (_, false) => LpipsKind::Vgg,
            (_, true) => LpipsKind::ShiftTolerantVgg,
        };
        let heads = if trunk.get(&head(0)).is_ok() { None } else { Some(heads(kind)?) };
        Ok(Self { kind, torchvision, trunk, heads })
    }

    /// Which network it is.
    pub fn kind(&self) -> LpipsKind {
        self.kind
    }

    /// The metric for pictures of `[height, width]`, on a device.
    ///
    /// # Errors
    /// [`Error::TooSmall`], or [`vipaint_zoo::Error`] names the tensor that is missing or of another shape.
    pub fn at(&self, sides: [usize; 2], device: &Device) -> Result<Lpips> {
        let heads = self.heads.as_ref().unwrap_or(&self.trunk);
        Lpips::new(self.kind, &self.trunk, heads, self.torchvision, sides, device)
    }
}

fn head(stage: usize) -> String {
    format!("lin{stage}.model.1.weight")
}

/// The metric, for pictures of one size.
#[derive(Debug, Clone)]
pub struct Lpips {
    trunk: Trunk,
    heads: Vec<Linear>,
}

/// What the metric sees in pictures. // five of [batch, height, width, channels]
#[derive(Debug, Clone)]
pub struct Look(Vec<Tensor<4>>);

impl Lpips {
    /// With weights on a device, from sources: `trunk` with the names of torchvision or of LPIPS, `heads` with those of LPIPS.
    ///
    /// # Errors
    /// As [`LpipsWeights::at`].
    pub fn new(
        kind: LpipsKind,
        trunk: &dyn Source,
        heads: &dyn Source,
        torchvision: bool,
        sides: [usize; 2],
        device: &Device,
    ) -> Result<Self> {
        let plan = match kind {
            LpipsKind::Alex => &trunk::ALEX,
            LpipsKind::Vgg => &trunk::VGG,
            LpipsKind::ShiftTolerantAlex => &trunk::SHIFT_TOLERANT_ALEX,
            LpipsKind::ShiftTolerantVgg => &trunk::SHIFT_TOLERANT_VGG,
        };
        let name = |stage, number| {
            if torchvision { format!("features.{number}") } else { format!("net.slice{stage}.{number}") }
        };
        let trunk = Trunk::new(plan, trunk, name, sides, device)?;
        let weighting = |(stage, channels)| {
            let weight = heads.tensor(&head(stage), &[1, channels, 1, 1])?;
            Ok(Linear::new(Values { weight: &weight, bias: None, device, half: false }, [1, channels]))
        };
        let heads = kind.channels().into_iter().enumerate().map(weighting).collect::<Result<_>>()?;
        Ok(Self { trunk, heads })
    }

    /// Looks at pictures `[batch, 3, height, width]` in [-1, 1].
    pub fn look(&self, x: Tensor<4>) -> Look {
        let device = x.device();
        let constant = |values: [f32; 3]| Tensor::from_data(TensorData::new(values.to_vec(), [1, 1, 1, 3]), &device);
        let x = (x.permute([0, 2, 3, 1]) - constant(SHIFT)) / constant(SCALE);
        Look(self.trunk.forward(x).into_iter().map(normalised).collect())
    }

    /// Weighted squares of what differs, by stage. // five of [batch, height, width]
    fn stages<'a>(&'a self, a: &'a Look, b: &'a Look) -> impl Iterator<Item = Tensor<3>> + 'a {
        a.0.iter().zip(&b.0).zip(&self.heads).map(|((a, b), weights)| {
            let squares = (a.clone() - b.clone()).square();
            let [batch, height, width, channels] = squares.dims();
            let weighted = weights.forward(squares.reshape([batch * height * width, channels]));
            weighted.reshape([batch, height, width])
        })
    }

    /// Distances of pictures from pictures, one by one. // [batch]
    pub fn between(&self, a: &Look, b: &Look) -> Tensor<1> {
        let stages = self.stages(a, b).map(|stage| {
            let [batch, height, width] = stage.dims();
            stage.reshape([batch, height * width]).mean_dim(1).reshape([batch])
        });
        // There are five stages.
        stages.reduce(|sum, stage| sum + stage).unwrap_or_else(|| Tensor::zeros([0], &a.device()))
    }

    /// Distances as VIPaint's Stable Diffusion 3 release takes them: a stage is the mean of what differs, weighted by how much is
    /// `known` of the place, a mask `[1, channels, height, width]` that is read (bilinearly) at the stage's resolution. // [batch]
    pub fn where_known(&self, a: Tensor<4>, b: Tensor<4>, known: &Tensor<4>) -> Tensor<1> {
        let (a, b) = (self.look(a), self.look(b));
        let [_, _, height, width] = known.dims();
        // Every tensor of the engine is a readable float tensor.
        let mask = known.try_to_vec_as::<f32>().unwrap_or_default();
        let stages = self.stages(&a, &b).map(|stage| {
            let [batch, rows, columns] = stage.dims();
            let weights = bilinear(&mask, [height, width], [rows, columns]);
            let total = weights.iter().sum::<f32>().max(1e-6);
            let weights = Tensor::<3>::from_data(TensorData::new(weights, [1, rows, columns]), &known.device());
            (stage * weights).reshape([batch, rows * columns]).sum_dim(1).reshape([batch]) / total
        });
        stages.reduce(|sum, stage| sum + stage).unwrap_or_else(|| Tensor::zeros([0], &a.device()))
    }

    /// Distances of pictures `[batch, 3, height, width]` in [-1, 1], one by one. // [batch]
    pub fn distance(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<1> {
        self.between(&self.look(a), &self.look(b))
    }
}

impl Look {
    fn device(&self) -> Device {
        self.0.first().map_or_else(Device::flex, Tensor::device)
    }

    /// One of the pictures.
    #[must_use]
    pub fn picture(&self, index: usize) -> Self {
        Self(self.0.iter().map(|stage| stage.clone().slice_dim(0, index..index + 1)).collect())
    }
}

/// A picture's first channel at other sides, between the four nearest pixels (pixels being squares).
fn bilinear(picture: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let place = |i: usize, axis: usize| {
        let at = ((i as f32 + 0.5) * from[axis] as f32 / to[axis] as f32 - 0.5).max(0.0);
        let low = (at as usize).min(from[axis] - 1);
        (low, (low + 1).min(from[axis] - 1), at - low as f32)
    };
    let value = |i: usize| {
        let ((y0, y1, v), (x0, x1, u)) = (place(i / to[1], 0), place(i % to[1], 1));
        let along = |y: usize| picture[y * from[1] + x0] * (1.0 - u) + picture[y * from[1] + x1] * u;
        along(y0) * (1.0 - v) + along(y1) * v
    };
    (0..to[0] * to[1]).map(value).collect()
}

/// Each position's channels over their norm. The original adds `EPS` to the norm only; its square inside the root changes no
/// value that single precision can tell, and keeps the gradient finite where nothing is seen.
fn normalised(x: Tensor<4>) -> Tensor<4> {
    let norm = (x.clone().square().sum_dim(3) + EPS * EPS).sqrt() + EPS;
    x / norm
}
