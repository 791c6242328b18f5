//! A text-conditioned latent prior (Rombach et al., 2022), small: text encoder, denoiser of latents, and autoencoder in one file.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::SafeTensors;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vipaint_core::Schedule;
use vipaint_core::prior::{Autoencoder, Condition, Context, Footprint, Prior, ReadText, TextEncoder};
use vipaint_nn::layers::Init;
use vipaint_nn::layers::weights::{self, Entry};

use crate::kl_autoencoder::{self, KlAutoencoder};
use crate::loader::held_bytes;
use crate::{Edm, Error, Network, Result, Source, read_weights, text, unet, write_weights};

/// The metadata key of the description.
pub const MAGIC_KEY: &str = "vipaint.text-prior";
/// The version of the description that this program writes and reads.
const FORMAT: u32 = 1;

/// Hyperparameters of text encoder and denoiser.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The text encoder.
    pub text: text::Config,
    /// The denoiser; its `context` is the text's `width`.
    pub unet: unet::Config,
}

impl Config {
    /// Checks that both can be built and fit each other.
    ///
    /// # Errors
    /// [`Error::Config`] names the field.
    pub fn validate(&self) -> Result<()> {
        self.text.validate()?;
        self.unet.validate()?;
        if self.unet.context != self.text.width {
            let problem = format!("must be text.width, {}", self.text.width);
            return Err(Error::Config { key: "unet.context", problem });
        }
        if self.unet.classes != 0 {
            return Err(Error::Config { key: "unet.classes", problem: "must be 0 beside a text".into() });
        }
        Ok(())
    }

    /// A network with random weights that depend on `seed` only.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn init(&self, device: &Device, seed: u64) -> Result<TextUNet> {
        self.validate()?;
        let text = self.text.build(&mut Init::seeded(device, seed))?;
        Ok(TextUNet { text, unet: self.unet.init(device, seed)? })
    }

    /// A network whose weights are loaded later; none is allocated yet.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn blank(&self, device: &Device) -> Result<TextUNet> {
        self.validate()?;
        Ok(TextUNet { text: self.text.build(&mut Init::blank(device))?, unet: self.unet.blank(device)? })
    }

    /// Multiply-adds of a forward call on one latent and its text.
    pub fn multiply_adds(&self) -> u64 {
        self.text.multiply_adds() + self.unet.multiply_adds()
    }
}

/// Text encoder and denoiser, which are trained together.
#[derive(Module, Debug)]
pub struct TextUNet {
    text: text::Encoder,
    unet: unet::UNet,
}

impl TextUNet {
    /// The raw output at `x` `[batch, channels, height, width]`, with the time input and the tokens of a text for each sample.
    pub fn forward(&self, x: Tensor<4>, time: &[f64], texts: &[Vec<usize>]) -> Tensor<4> {
        let tokens = self.text.forward(texts, &x.device());
        self.unet.forward_text(x, time, &vec![None; time.len()], Some(&tokens))
    }
}

/// The description of a text-conditioned latent prior, kept as JSON in the file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of this description.
    pub format: u32,
    /// Name of the prior.
    pub name: String,
    /// Text encoder, with its vocabulary, and denoiser.
    pub network: Config,
    /// The autoencoder.
    pub autoencoder: kl_autoencoder::Config,
    /// Mean of each channel of the autoencoder's latents, which is subtracted from them.
    pub latent_mean: Vec<f64>,
    /// Standard deviation of each channel, by which they are divided then.
    pub latent_std: Vec<f64>,
    /// Standard deviation that the preconditioning assumes.
    pub sigma_data: f64,
    /// Noise levels of the prior (variance exploding).
    pub schedule: Schedule,
    /// See [`Prior::decoded_error`].
    #[serde(default)]
    pub decoded_error: Vec<(f64, f64)>,
}

impl Header {
    /// A description of this version.
    pub fn new(
        name: String,
        network: Config,
        autoencoder: kl_autoencoder::Config,
        [latent_mean, latent_std]: [Vec<f64>; 2],
        sigma_data: f64,
        schedule: Schedule,
    ) -> Self {
        Self {
            format: FORMAT,
            name,
            network,
            autoencoder,
            latent_mean,
            latent_std,
            sigma_data,
            schedule,
            decoded_error: Vec::new(),
        }
    }

    /// Reads and checks a description from an untrusted file.
    ///
    /// # Errors
    /// [`Error::Header`] or [`Error::Config`] says which field is wrong.
    pub fn from_json(json: &str) -> Result<Self> {
        let header: Self = serde_json::from_str(json).map_err(|e| Error::Header(e.to_string()))?;
        let fail = |problem: &str| Err(Error::Header(problem.to_string()));
        let positive = |x: f64| x.is_finite() && x > 0.0;
        header.network.validate()?;
        header.autoencoder.validate()?;
        if header.format != FORMAT {
            return fail("format: is unknown");
        }
        let unet = &header.network.unet;
        let latent = header.autoencoder.latent_shape();
        if [unet.channels, unet.size, unet.size] != latent {
            return fail("network: its shape is not that of the autoencoder's latents");
        }
        let fits = |list: &[f64]| list.len() == latent[0] && list.iter().all(|x| x.is_finite());
        if !fits(&header.latent_mean) || !fits(&header.latent_std) || !header.latent_std.iter().all(|s| positive(*s)) {
            return fail("latent_mean and latent_std: must have a number for each channel, the latter positive");
        }
        let rises = header.decoded_error.windows(2).all(|w| w[0].0 < w[1].0);
        if !rises || header.decoded_error.iter().any(|(r, e)| !positive(*r) || !positive(*e)) {
            return fail("decoded_error: must be pairs of positive numbers, the first rising");
        }
        match &header.schedule {
            Schedule::Ve { sigma_min, sigma_max, rho }
                if positive(header.sigma_data)
                    && positive(*sigma_min)
                    && positive(*rho)
                    && sigma_max.is_finite()
                    && sigma_min < sigma_max => {}
            _ => return fail("schedule: must be variance exploding, with 0 < sigma_min < sigma_max, rho > 0"),
        }
        Ok(header)
    }

    /// The description as JSON.
    pub fn to_json(&self) -> String {
        // Every field is a plain number, string or list of those, which JSON can hold.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Names and shapes of all weights: text encoder and denoiser, then the autoencoder.
    ///
    /// # Errors
    /// As [`Config::validate`].
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let device = Device::flex();
        let mut entries = weights::entries(&self.network.blank(&device)?);
        let autoencoder = weights::entries(&self.autoencoder.blank(&device)?);
        entries.extend(autoencoder.into_iter().map(|e| Entry { name: format!("autoencoder.{}", e.name), ..e }));
        Ok(entries)
    }

    /// A file with f16 weights; `values` are those of [`Self::entries`].
    ///
    /// # Errors
    /// As [`write_weights`].
    pub fn encode(&self, values: &[f32]) -> Result<Vec<u8>> {
        write_weights(&self.entries()?, values, &[(MAGIC_KEY, self.to_json())])
    }

    /// The same architecture for latents of another side.
    #[must_use]
    pub fn with_side(mut self, side: usize) -> Self {
        let factor = self.autoencoder.size / self.network.unet.size.max(1);
        self.autoencoder.size = factor * side;
        self.network.unet.size = side;
        self
    }

    /// The prior of these weights, which are those of [`Self::entries`], frozen, on the CPU; without a hash.
    ///
    /// # Errors
    /// As [`Config::validate`].
    pub fn prior(&self, values: &[f32]) -> Result<Prior> {
        Ok(self.open(values, &Device::flex())?.prior)
    }

    /// The same with random weights, on a device.
    ///
    /// # Errors
    /// As [`Config::validate`].
    pub fn random(&self, device: &Device) -> Result<Opened> {
        let source = crate::RandomWeights::default();
        let values =
            self.entries()?.iter().map(|entry| source.tensor(&entry.name, &entry.shape)).collect::<Result<Vec<_>>>()?;
        self.open(&values.concat(), device)
    }

    fn open(&self, values: &[f32], device: &Device) -> Result<Opened> {
        let blank = self.network.blank(device)?;
        let count: usize = weights::entries(&blank).iter().map(Entry::len).sum();
        let mut network = weights::scatter(blank, &values[..count], device);
        let mut autoencoder = weights::scatter(self.autoencoder.blank(device)?, &values[count..], device);
        network.unet.pack();
        autoencoder.pack();
        let reader =
            Arc::new(TextReader { config: self.network.text.clone(), encoder: network.text, device: device.clone() });
        let nothing = reader.embed("").context;
        let network: Arc<dyn Network> = Arc::new(TextNetwork { unet: network.unet, nothing });
        let denoiser = Arc::new(Edm::new(network.clone(), self.sigma_data));
        let mut prior = Prior::new(self.name.clone(), denoiser, self.schedule.clone(), self.sigma_data);
        let per_channel = |list: &[f64]| list.iter().map(|x| *x as f32).collect();
        let (mean, std) = (per_channel(&self.latent_mean), per_channel(&self.latent_std));
        prior.decoded_error.clone_from(&self.decoded_error);
        prior.autoencoder = Arc::new(Scaled { autoencoder, mean, std });
        let denoiser = held_bytes(self.network.unet.outputs());
        let decoder = held_bytes(self.autoencoder.decoder_outputs());
        prior.footprint = Some(Footprint { denoiser, recomputed: [denoiser, 0], decoder, late: true });
        prior.text = Some(reader);
        prior.device = device.clone();
        Ok(Opened { header: self.clone(), network, prior })
    }
}

/// A prior with its description and its raw network, which reads embedded texts.
pub struct Opened {
    /// The description.
    pub header: Header,
    /// The network.
    pub network: Arc<dyn Network>,
    /// The prior.
    pub prior: Prior,
}

/// Whether the bytes of a prior file hold a prior of this family.
///
/// # Errors
/// [`Error::Format`] for what is no safetensors file.
pub fn is_text_prior(bytes: &[u8]) -> Result<bool> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    Ok(metadata.metadata().as_ref().is_some_and(|m| m.contains_key(MAGIC_KEY)))
}

/// Reads the description of a prior file of this family.
///
/// # Errors
/// [`Error`] says what the file lacks or has wrong.
pub fn header(bytes: &[u8]) -> Result<Header> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(MAGIC_KEY));
    Header::from_json(json.ok_or_else(|| Error::Header("is missing".into()))?)
}

/// Reads a prior from the bytes of its file, onto the CPU.
///
/// # Errors
/// [`Error`] says what the file lacks or has wrong.
pub fn load_bytes(bytes: &[u8]) -> Result<Prior> {
    Ok(open_bytes_on(bytes, &Device::flex())?.prior)
}

/// As [`load_bytes`], onto a device and with the raw network.
///
/// # Errors
/// As there.
pub fn open_bytes_on(bytes: &[u8], device: &Device) -> Result<Opened> {
    let header = header(bytes)?;
    let mut opened = header.open(&read_weights(bytes, &header.entries()?)?, device)?;
    opened.prior.hash = crate::weights_file::short_hash(Sha256::digest(bytes));
    Ok(opened)
}

/// Tokenizer and text encoder.
#[derive(Debug)]
struct TextReader {
    config: text::Config,
    encoder: text::Encoder,
    /// Where the encoder is.
    device: Device,
}

impl TextReader {
    fn embed(&self, text: &str) -> ReadText {
        let tokens = self.config.tokenize(text);
        let embedded = self.encoder.forward(&[tokens.ids], &self.device);
        let shape = [self.config.length, self.config.width];
        let values = embedded.into_data().iter::<f32>().collect();
        let context = Context { tokens: values, shape, pooled: Vec::new() };
        ReadText { context, unknown: tokens.unknown, cut: tokens.cut }
    }
}

impl TextEncoder for TextReader {
    fn read(&self, text: &str) -> vipaint_core::Result<ReadText> {
        Ok(self.embed(text))
    }
}

/// The U-Net with an embedded text as its condition; without one it reads the empty text.
struct TextNetwork {
    unet: unet::UNet,
    nothing: Context,
}

impl TextNetwork {
    fn text<'a>(&'a self, condition: &'a Condition) -> &'a Context {
        condition.context.as_deref().unwrap_or(&self.nothing)
    }
}

impl Network for TextNetwork {
    fn shape(&self) -> [usize; 3] {
        let config = self.unet.config();
        [config.channels, config.size, config.size]
    }

    fn classes(&self) -> usize {
        0
    }

    fn check(&self, conditions: &[Condition]) -> Result<(), String> {
        let expected @ [length, width] = self.nothing.shape;
        let wrong = |text: &&Context| text.shape != expected || text.tokens.len() != length * width;
        match conditions.iter().map(|condition| self.text(condition)).find(wrong) {
            Some(text) => Err(format!("reads texts of shape {expected:?}, not {:?}", text.shape)),
            None => Ok(()),
        }
    }

    fn forward(&self, x: Tensor<4>, time: &[f64], conditions: &[Condition]) -> Tensor<4> {
        let [length, width] = self.nothing.shape;
        let tokens = conditions.iter().flat_map(|condition| self.text(condition).tokens.iter().copied()).collect();
        let tokens = TensorData::new(tokens, [time.len(), length, width]);
        let tokens = Tensor::<3>::from_data(tokens, &x.device());
        self.unet.forward_text(x, time, &vec![None; time.len()], Some(&tokens))
    }
}

/// An autoencoder whose latents are brought to mean 0 and standard deviation 1, channel by channel.
struct Scaled {
    autoencoder: KlAutoencoder,
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Scaled {
    fn channels(list: &[f32], like: &Tensor<4>) -> Tensor<4> {
        Tensor::from_data(TensorData::new(list.to_vec(), [1, list.len(), 1, 1]), &like.device())
    }
}

impl Autoencoder for Scaled {
    fn decode(&self, z: Tensor<4>) -> Tensor<4> {
        let (mean, std) = (Self::channels(&self.mean, &z), Self::channels(&self.std, &z));
        self.autoencoder.decode(z * std + mean)
    }

    fn encode(&self, x: Tensor<4>) -> Tensor<4> {
        let (mean, std) = (Self::channels(&self.mean, &x), Self::channels(&self.std, &x));
        (self.autoencoder.posterior(x).0 - mean) / std
    }

    fn image_shape(&self, _: [usize; 3]) -> [usize; 3] {
        self.autoencoder.config().image_shape()
    }
}
