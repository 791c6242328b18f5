//! An attribute reader: one small network that tells the value of every attribute of a picture.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use vipaint_nn::layers::{Conv2d, GroupNorm, Init, Linear, to_patches, weights};
use vipaint_nn::ops::GroupNormTail;
use vipaint_zoo::Error as ZooError;

use crate::Result;

/// The metadata key of the description.
pub const MAGIC_KEY: &str = "vipaint.reader";
/// Pictures read at once.
const BATCH: usize = 50;

/// Something that is read off a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it can be.
    pub values: Vec<String>,
}

/// Hyperparameters and attributes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Channels of a picture.
    pub channels: usize,
    /// Side of a picture.
    pub size: usize,
    /// Side of the patches that become channels at the edge.
    pub patch: usize,
    /// Channels at each level, the finest first; each level halves the side.
    pub widths: Vec<usize>,
    /// Channels normalised together.
    pub group_width: usize,
    /// What it reads; a recipe leaves them out, and training takes those of the data.
    #[serde(default)]
    pub attributes: Vec<Attribute>,
}

impl Config {
    /// Checks that the network can be built, with sizes that no honest file exceeds.
    ///
    /// # Errors
    /// [`vipaint_zoo::Error::Config`] names the field.
    pub fn validate(&self) -> Result<(), ZooError> {
        let fail = |key, problem: &str| Err(ZooError::Config { key, problem: problem.to_string() });
        let levels = self.widths.len();
        if !(1..=16).contains(&self.channels) || !(1..=16).contains(&self.patch) {
            return fail("channels", "channels and patch must be 1 to 16");
        }
        if !(1..=8).contains(&levels) || self.group_width == 0 {
            return fail("widths", "must have 1 to 8 levels, and group_width must be positive");
        }
        if self.widths.iter().any(|w| *w == 0 || *w > 8192 || !w.is_multiple_of(self.group_width)) {
            return fail("widths", "must be multiples of group_width, at most 8192");
        }
        if !(1..=4096).contains(&self.size) || !self.size.is_multiple_of(self.patch << (levels - 1)) {
            return fail("size", "must be a multiple of patch times 2 for each level but the first, at most 4096");
        }
        if self.attributes.len() > 1000 || self.attributes.iter().any(|a| !(1..=10_000).contains(&a.values.len())) {
            return fail("attributes", "must be at most 1000, with 1 to 10000 values each");
        }
        Ok(())
    }

    /// Shape `[channels, height, width]` of pictures.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// The description as JSON.
    pub fn to_json(&self) -> String {
        // Plain numbers, strings and lists, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Values of all attributes together.
    pub fn outputs(&self) -> usize {
        self.attributes.iter().map(|a| a.values.len()).sum()
    }

    /// Multiply-adds of a call on one picture.
    pub fn multiply_adds(&self) -> u64 {
        let mut c = self.channels * self.patch.pow(2);
        let mut total = 0;
        for (level, width) in self.widths.iter().enumerate() {
            let cells = ((self.size / self.patch) >> level).pow(2);
            total += 9 * cells * width * (c + width);
            c = *width;
        }
        (total + self.features() * self.outputs()) as u64
    }

    fn features(&self) -> usize {
        let levels = self.widths.len();
        ((self.size / self.patch) >> (levels - 1)).pow(2) * self.widths[levels - 1]
    }

    /// The network with weights from `init`.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn build(&self, init: &mut Init) -> Result<Network, ZooError> {
        self.validate()?;
        let mut c = self.channels * self.patch.pow(2);
        let mut layers = Vec::new();
        for (level, &width) in self.widths.iter().enumerate() {
            let stride = if level == 0 { 1 } else { 2 };
            layers.push(Layer::new(c, width, stride, self.group_width, init));
            layers.push(Layer::new(width, width, 1, self.group_width, init));
            c = width;
        }
        Ok(Network { layers, out: Linear::zero(self.features(), self.outputs(), init), patch: self.patch })
    }
}

/// Convolution, group normalisation, SiLU.
#[derive(Module, Debug)]
struct Layer {
    conv: Conv2d,
    norm: GroupNorm,
}

impl Layer {
    fn new(c_in: usize, c_out: usize, stride: usize, group: usize, init: &mut Init) -> Self {
        Self { conv: Conv2d::new(c_in, c_out, 3, stride, init), norm: GroupNorm::new(c_out, c_out / group, init) }
    }
}

/// Patches, two layers at each level, and an affine map of all that is left: portraits are always in the same place, so
/// places need not be forgotten.
#[derive(Module, Debug)]
pub struct Network {
    layers: Vec<Layer>,
    out: Linear,
    #[module(skip)]
    patch: usize,
}

impl Network {
    /// Logits of all values of all attributes, `[batch, outputs]`, of pictures `[batch, channels, size, size]` with values
    /// in `[-1, 1]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let tail = || GroupNormTail { modulation: None, silu: true };
        let x = to_patches(x, self.patch);
        let h = self.layers.iter().fold(x, |h, layer| layer.norm.forward(layer.conv.forward(h), tail()));
        let [b, height, width, c] = h.dims();
        self.out.forward(h.reshape([b, height * width * c]))
    }
}

/// A trained [`Network`] with its attributes.
#[derive(Debug, Clone)]
pub struct Reader {
    config: Config,
    network: Network,
}

impl Reader {
    /// With these weights, in the order of [`weights::entries`].
    ///
    /// # Errors
    /// As [`Config::validate`].
    pub fn new(config: Config, values: &[f32]) -> Result<Self, ZooError> {
        let device = Device::flex();
        let network = weights::scatter(config.build(&mut Init::blank(&device))?, values, &device);
        Ok(Self { config, network })
    }

    /// Reads a safetensors file's bytes.
    ///
    /// # Errors
    /// [`vipaint_zoo::Error`] says what the file lacks or has wrong.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(ZooError::from)?;
        let json = metadata.metadata().as_ref().and_then(|m| m.get(MAGIC_KEY));
        let json = json.ok_or_else(|| ZooError::Header(format!("the metadata key `{MAGIC_KEY}` is missing")))?;
        let config: Config = serde_json::from_str(json).map_err(|e| ZooError::Header(e.to_string()))?;
        let blank = config.build(&mut Init::blank(&Device::flex()))?;
        let values = vipaint_zoo::read_weights(bytes, &weights::entries(&blank))?;
        Ok(Self::new(config, &values)?)
    }

    /// The safetensors file (f16) of a network's weights.
    ///
    /// # Errors
    /// As [`Config::validate`], or if a weight leaves the range of f16.
    pub fn to_bytes(config: &Config, values: &[f32]) -> Result<Vec<u8>, ZooError> {
        let entries = weights::entries(&config.build(&mut Init::blank(&Device::flex()))?);
        vipaint_zoo::write_weights(&entries, values, &[(MAGIC_KEY, config.to_json())])
    }

    /// What it reads.
    pub fn attributes(&self) -> &[Attribute] {
        &self.config.attributes
    }

    /// The most probable value of every attribute of each picture; `values` are all pictures `[channels, size, size]`, one
    /// after the other, and are clamped to `[-1, 1]`.
    pub fn read(&self, values: &[f32]) -> Vec<Vec<usize>> {
        let [c, h, w] = self.config.shape();
        let mut read = Vec::new();
        for chunk in values.chunks(BATCH * c * h * w) {
            let count = chunk.len() / (c * h * w);
            let data = TensorData::new(chunk[..count * c * h * w].to_vec(), [count, c, h, w]);
            let x = Tensor::<4>::from_data(data, &Device::flex()).clamp(-1.0, 1.0);
            let logits: Vec<f32> = self.network.forward(x).into_data().iter::<f32>().collect();
            read.extend(logits.chunks_exact(self.config.outputs().max(1)).map(|row| self.best(row)));
        }
        read
    }

    fn best(&self, mut logits: &[f32]) -> Vec<usize> {
        let mut best = Vec::new();
        for attribute in &self.config.attributes {
            let (mine, rest) = logits.split_at(attribute.values.len());
            logits = rest;
            best.push((0..mine.len()).max_by(|a, b| mine[*a].total_cmp(&mine[*b])).unwrap_or(0));
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        let attribute = |name: &str, n: usize| Attribute {
            name: name.into(),
            values: (0..n).map(|i| format!("{name} {i}")).collect(),
        };
        let attributes = vec![attribute("a", 2), attribute("b", 3)];
        Config { channels: 3, size: 8, patch: 2, widths: vec![8, 16], group_width: 4, attributes }
    }

    fn values() -> Vec<f32> {
        let network = config().build(&mut Init::seeded(&Device::flex(), 1)).unwrap();
        weights::gather(&network).iter().zip(0..).map(|(v, i)| v + 0.1 * (i as f32).sin()).collect()
    }

    #[test]
    fn files_give_back_the_reader_and_pictures_are_read_one_by_one() {
        let reader = Reader::from_bytes(&Reader::to_bytes(&config(), &values()).unwrap()).unwrap();
        assert_eq!(reader.attributes(), config().attributes);
        let pictures: Vec<f32> = (0..60 * 192).map(|i| (i as f32 * 0.37).sin()).collect();
        let together = reader.read(&pictures);
        assert_eq!(together.len(), 60);
        for (one, read) in pictures.chunks(192).zip(&together) {
            assert_eq!(reader.read(one)[0], *read);
            assert!(read[0] < 2 && read[1] < 3);
        }
        // Not a constant.
        assert!(together.iter().any(|read| *read != together[0]));
    }

    #[test]
    fn wrong_files_are_refused() {
        assert!(Reader::from_bytes(b"no such format").is_err());
        let bad = Config { widths: vec![7], ..config() };
        assert!(bad.build(&mut Init::blank(&Device::flex())).unwrap_err().to_string().contains("widths"));
        let file = vipaint_zoo::write_weights(&[], &[], &[(MAGIC_KEY, config().to_json())]).unwrap();
        assert!(Reader::from_bytes(&file).unwrap_err().to_string().contains("missing tensors"));
    }
}
