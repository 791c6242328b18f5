//! `UNet2DModel`, the U-Net of the `google/ddpm-*` checkpoints (Ho et al., 2020) and of diffusers' unconditional pipelines.
//! Tensor names are those of the library.

mod build;
mod network;
mod presets;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use network::UNet;
pub(crate) use presets::{ddpm_32, ddpm_256};

use super::passable;
use super::scheduler::Scheduler;
use crate::limits::{fail, within};
use crate::presets::{PIXEL_STD, class_names};
use crate::{Error, Family, HEADER_FORMAT, Header, Loader, Parameterization, Result};

/// A block of the way down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the library's names
pub enum DownBlock {
    #[serde(alias = "UNetResDownBlock2D")]
    DownBlock2D,
    #[serde(alias = "UNetResAttnDownBlock2D")]
    AttnDownBlock2D,
}

/// A block of the way up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum UpBlock {
    #[serde(alias = "UNetResUpBlock2D")]
    UpBlock2D,
    #[serde(alias = "UNetResAttnUpBlock2D")]
    AttnUpBlock2D,
}

/// The block in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum MidBlock {
    UNetMidBlock2D,
}

/// What changes the resolution, in blocks with attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// A convolution.
    Conv,
    /// A residual block.
    Resnet,
}

/// How time and class act on features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeScaleShift {
    /// They are added before the normalisation.
    Default,
    /// They scale and shift what is normalised.
    ScaleShift,
}

/// Hyperparameters, named as in the library; the defaults are the library's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Side of pictures.
    pub sample_size: usize,
    /// Channels of pictures.
    pub in_channels: usize,
    /// Channels of the output: twice `in_channels` where a variance is learned, which is not used.
    pub out_channels: usize,
    /// The network reads `2 x - 1`.
    pub center_input_sample: bool,
    /// Width of the embedding; four times the first of `block_out_channels` if not given.
    pub time_embedding_dim: Option<usize>,
    /// Of the frequencies of the time embedding.
    pub freq_shift: f64,
    /// Cosines come before sines.
    pub flip_sin_to_cos: bool,
    /// Blocks of the way down, the finest first.
    pub down_block_types: Vec<DownBlock>,
    /// The block in the middle, if any.
    pub mid_block_type: Option<MidBlock>,
    /// Blocks of the way up, the coarsest first.
    pub up_block_types: Vec<UpBlock>,
    /// Channels of the levels, the finest first.
    pub block_out_channels: Vec<usize>,
    /// Residual blocks of a block on the way down; there is one more on the way up.
    pub layers_per_block: usize,
    /// Divides the sums in the middle.
    pub mid_block_scale_factor: f64,
    /// Zeros around the input of convolutions that halve the sides: 1, or with 0 some below and on the right only.
    pub downsample_padding: usize,
    /// What halves the sides.
    pub downsample_type: Resampling,
    /// What doubles the sides.
    pub upsample_type: Resampling,
    /// Channels of an attention head; all of them if not given.
    pub attention_head_dim: Option<usize>,
    /// Groups of normalisations.
    pub norm_num_groups: usize,
    /// Groups of the normalisation before the attention in the middle. If not given, there is none with scale and shift, and
    /// as many as elsewhere without.
    pub attn_norm_num_groups: Option<usize>,
    /// Added to the variance.
    pub norm_eps: f64,
    /// How time and class act on features.
    pub resnet_time_scale_shift: TimeScaleShift,
    /// The middle has attention.
    pub add_attention: bool,
    /// Number of classes, whose embedding is added to that of the time.
    pub num_class_embeds: Option<usize>,
}

impl Default for Config {
    fn default() -> Self {
        let (down, up) = (DownBlock::AttnDownBlock2D, UpBlock::AttnUpBlock2D);
        Self {
            sample_size: 0,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: vec![DownBlock::DownBlock2D, down, down, down],
            mid_block_type: Some(MidBlock::UNetMidBlock2D),
            up_block_types: vec![up, up, up, UpBlock::UpBlock2D],
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: Resampling::Conv,
            upsample_type: Resampling::Conv,
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: TimeScaleShift::Default,
            add_attention: true,
            num_class_embeds: None,
        }
    }
}

/// Options of the library that are not fields here, with the values that are supported.
const FIXED: [(&str, &[&str]); 3] =
    [("time_embedding_type", &["positional"]), ("act_fn", &["silu", "swish"]), ("class_embed_type", &[])];
/// Of training, and of a time embedding that is not supported.
const IGNORED: [&str; 2] = ["dropout", "num_train_timesteps"];

impl Config {
    /// From the whole of a `config.json`.
    ///
    /// # Errors
    /// [`Error::Config`] names the option that is unknown or not supported.
    pub fn from_json(config: &Value) -> Result<Self> {
        let Value::Object(mut fields) = config.clone() else { return Err(wrong("must be an object")) };
        if let Some(class) = config.get("_class_name").filter(|class| *class != "UNet2DModel") {
            return Err(wrong(&format!("is of a {class}, not of a UNet2DModel")));
        }
        for (key, values) in FIXED {
            let value = fields.remove(key).unwrap_or_default();
            if !value.is_null() && !values.iter().any(|known| value == *known) {
                return fail(key, &format!("{value} is not supported"));
            }
        }
        if let Some(Value::Array(sides)) = fields.get("sample_size").cloned() {
            let [height, width] = &sides[..] else { return fail("sample_size", "must be one or two numbers") };
            if height != width {
                return fail("sample_size", "must be a square");
            }
            fields.insert("sample_size".into(), height.clone());
        }
        // Unset options that nobody knows say nothing; for those that are known, to be unset may mean something.
        let Ok(Value::Object(known)) = serde_json::to_value(Self::default()) else {
            return Err(wrong("cannot be read"));
        };
        fields.retain(|key, value| {
            !IGNORED.contains(&key.as_str()) && (known.contains_key(key) || !passable(key, value))
        });
        let config: Self = serde_json::from_value(Value::Object(fields)).map_err(|e| wrong(&e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// Checks that the network can be built, with sizes that no honest checkpoint exceeds. Whether groups divide channels is
    /// found out by [`Self::build`].
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        within("in_channels", self.in_channels, 1..=32)?;
        if self.out_channels != self.in_channels && self.out_channels != 2 * self.in_channels {
            return fail("out_channels", "must be in_channels, or twice as many where a variance is learned");
        }
        let levels = self.block_out_channels.len();
        within("block_out_channels", levels, 1..=10)?;
        for channels in &self.block_out_channels {
            within("block_out_channels", *channels, 1..=16_384)?;
        }
        if self.down_block_types.len() != levels || self.up_block_types.len() != levels {
            return fail("block_out_channels", "must be as many as down_block_types and as up_block_types");
        }
        within("sample_size", self.sample_size, 1..=2048)?;
        if !self.sample_size.is_multiple_of(1 << (levels - 1)) {
            return fail("sample_size", "must be a multiple of 2^(levels - 1)");
        }
        if !self.block_out_channels[0].is_multiple_of(2) {
            return fail("block_out_channels", "the first must be even");
        }
        if !(0.0..(self.block_out_channels[0] / 2) as f64).contains(&self.freq_shift) {
            return fail("freq_shift", "must not be negative, and less than half of the first of block_out_channels");
        }
        within("time_embedding_dim", self.embedding(), 1..=65_536)?;
        within("layers_per_block", self.layers_per_block, 1..=16)?;
        within("downsample_padding", self.downsample_padding, 0..=1)?;
        within("norm_num_groups", self.norm_num_groups, 1..=16_384)?;
        within("num_class_embeds", self.num_class_embeds.unwrap_or(1), 1..=100_000)?;
        if !(self.norm_eps > 0.0 && self.norm_eps <= 1.0) {
            return fail("norm_eps", "must be positive, and at most 1");
        }
        if !(self.mid_block_scale_factor.is_finite() && self.mid_block_scale_factor > 0.0) {
            return fail("mid_block_scale_factor", "must be positive");
        }
        Ok(())
    }

    /// The network, frozen.
    ///
    /// # Errors
    /// As [`Self::validate`]; [`Error::Config`] where groups of normalisations or heads do not divide the channels; those of
    /// the source.
    pub fn build(&self, loader: &Loader<'_>) -> Result<UNet> {
        self.validate()?;
        build::network(self, loader)
    }

    /// Number of classes it knows.
    pub fn classes(&self) -> usize {
        self.num_class_embeds.unwrap_or(0)
    }

    /// Width of the embedding of time and class.
    fn embedding(&self) -> usize {
        self.time_embedding_dim.unwrap_or(4 * self.block_out_channels[0])
    }
}

/// The description of a prior called `name`.
pub fn describe(name: impl Into<String>, network: Config, Scheduler { schedule, head }: Scheduler) -> Header {
    Header {
        format: HEADER_FORMAT,
        name: name.into(),
        classes: class_names(network.classes()),
        network: Family::Unet2d(network),
        schedule,
        parameterization: Parameterization::Head { head },
        data_std: PIXEL_STD,
        value_range: (-1.0, 1.0),
        autoencoder: None,
    }
}

/// The maps of attention as they were called before 2023, and as they are called today.
const RENAMED: [(&str, &str); 4] =
    [(".query.", ".to_q."), (".key.", ".to_k."), (".value.", ".to_v."), (".proj_attn.", ".to_out.0.")];

/// Today's name of a tensor.
pub fn todays_name(name: &str) -> String {
    let renamed = |(old, _): &&(&str, &str)| name.contains(".attentions.") && name.contains(old);
    RENAMED.iter().find(renamed).map_or_else(|| name.to_owned(), |(old, new)| name.replacen(old, new, 1))
}

fn wrong(problem: &str) -> Error {
    Error::Config { key: "config.json", problem: problem.to_owned() }
}
