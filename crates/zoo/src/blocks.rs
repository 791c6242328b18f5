//! Blocks that U-Nets of several code bases share, under each one's names.

use burn::tensor::Tensor;
use vipaint_nn::layers::frozen::{Attention, Conv2d, GroupNorm, Linear, Residual};
use vipaint_nn::ops::GroupNormTail;

use crate::loader::{Loader, Shape};
use crate::resample::Filter;
use crate::{Error, Result};

/// A change of resolution inside a residual block.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    None,
    Up(Filter),
    Down(Filter),
}

impl Change {
    fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None => x,
            Self::Up(filter) => filter.up(x),
            Self::Down(filter) => filter.down(x),
        }
    }

    /// Whether the convolution that follows does it too.
    fn is_fused(&self) -> bool {
        matches!(self, Self::Up(filter) if filter.is_nearest())
    }

    /// Height and width after it.
    pub fn sides(&self, sides: [usize; 2]) -> [usize; 2] {
        match self {
            Self::None => sides,
            Self::Up(_) => sides.map(|side| 2 * side),
            Self::Down(_) => sides.map(|side| side / 2),
        }
    }
}

/// What a residual block's layers are called.
pub(crate) struct Names {
    pub norms: [&'static str; 2],
    pub convs: [&'static str; 2],
    pub embed: &'static str,
    pub skip: &'static str,
}

/// The form of a residual block.
pub(crate) struct Form {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Width of the embedding.
    pub embedding: usize,
    pub change: Change,
    /// Height and width of the input.
    pub sides: [usize; 2],
    /// The embedding scales and shifts the normalised features, instead of being added before.
    pub scale_shift: bool,
    /// Groups of the two normalisations, and what is added to the variance.
    pub groups: [usize; 2],
    pub eps: f64,
    /// Whether the way around has a convolution; it must where the channels change.
    pub project: bool,
    /// Factor on the sum.
    pub scale: f64,
}

/// `y = scale (skip(change(x)) + conv(silu(gn(h + e))))` with `h = conv(change(silu(gn(x))))` and `e` affine in the embedding;
/// with scale and shift, `silu(gn(h) (1 + scale) + shift)` instead.
#[derive(Debug)]
pub(crate) struct ResBlock {
    change: Change,
    norm_in: GroupNorm,
    conv_in: Conv2d,
    embed: Linear,
    scale_shift: bool,
    norm_out: GroupNorm,
    conv_out: Conv2d,
    skip: Option<Conv2d>,
    scale: f64,
    /// All of it as one operation, where it has no more to it.
    fused: Option<Residual>,
}

impl ResBlock {
    /// # Errors
    /// [`Error::Config`] where groups do not divide channels, or those of the source.
    pub fn load(loader: &Loader<'_>, names: &Names, form: Form) -> Result<Self> {
        let Form { channels: [c_in, c_out], embedding, change, sides, scale_shift, groups, eps, project, scale } = form;
        let sides = change.sides(sides);
        let shape = |c_in, kernel| Shape::same(c_in, c_out, kernel, sides);
        let modulation = if scale_shift { 2 * c_out } else { c_out };
        let block = Self {
            norm_in: group_norm(loader, names.norms[0], c_in, groups[0], eps)?,
            conv_in: if change.is_fused() {
                loader.conv_after_upsampling(names.convs[0], shape(c_in, 3))?
            } else {
                loader.conv(names.convs[0], shape(c_in, 3))?
            },
            embed: loader.linear(names.embed, [embedding, modulation], true, 1)?,
            scale_shift,
            norm_out: group_norm(loader, names.norms[1], c_out, groups[1], eps)?,
            conv_out: loader.conv(names.convs[1], shape(c_out, 3))?,
            skip: project.then(|| loader.conv(names.skip, shape(c_in, 1))).transpose()?,
            change,
            scale,
            fused: None,
        };
        let plain = matches!(block.change, Change::None) && scale == 1.0;
        Ok(Self { fused: if plain { block.fuse() } else { None }, ..block })
    }

    fn fuse(&self) -> Option<Residual> {
        let (norms, convs) = ([&self.norm_in, &self.norm_out], [&self.conv_in, &self.conv_out]);
        Residual::new(norms, convs, self.skip.as_ref(), Some(&self.embed))
    }

    /// `embedding` is `[batch, embedding]`, after its activation.
    pub fn forward(&self, x: Tensor<4>, embedding: &Tensor<2>) -> Tensor<4> {
        if let Some(y) = self.fused.as_ref().and_then(|fused| fused.forward(&x, Some(embedding))) {
            return y;
        }
        let h = self.norm_in.forward_silu(x.clone());
        let h = self.conv_in.forward(if self.change.is_fused() { h } else { self.change.apply(h) });
        let x = self.change.apply(x);
        let e = self.embed.forward(embedding.clone());
        let h = if self.scale_shift {
            let c = h.dims()[3];
            let modulation = Some((e.clone().narrow(1, 0, c), e.narrow(1, c, c)));
            self.norm_out.forward(h, GroupNormTail { modulation, silu: true })
        } else {
            self.norm_out.forward_shifted_silu(h, e)
        };
        let x = match &self.skip {
            Some(skip) => skip.forward(x),
            None => x,
        };
        scaled(self.conv_out.forward_onto(h, x), self.scale)
    }
}

/// Self-attention over the positions of a picture, `scale (x + W_o attention(W gn(x)))`.
#[derive(Debug)]
pub(crate) struct AttentionBlock {
    pub norm: Option<GroupNorm>,
    pub attention: Attention,
    pub scale: f64,
}

impl AttentionBlock {
    /// Shape in and out: `[batch, height, width, channels]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let n = match &self.norm {
            Some(norm) => norm.forward(x.clone(), GroupNormTail::default()),
            None => x.clone(),
        };
        let y = self.attention.forward(n.reshape([b, h * w, c]), None, x.reshape([b, h * w, c]));
        scaled(y.reshape([b, h, w, c]), self.scale)
    }
}

fn scaled(x: Tensor<4>, scale: f64) -> Tensor<4> {
    if scale == 1.0 { x } else { x * scale }
}

/// [`Loader::group_norm`], after checking that the groups divide the channels.
pub(crate) fn group_norm(
    loader: &Loader<'_>,
    name: &str,
    channels: usize,
    groups: usize,
    eps: f64,
) -> Result<GroupNorm> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        let problem = format!("makes {channels} channels, which {groups} groups of a normalisation do not divide");
        return Err(Error::Config { key: "channels", problem });
    }
    loader.group_norm(name, channels, groups, eps)
}
