//! Prior files: safetensors with the weights by name, and the [`Header`] as JSON in the metadata.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use safetensors::tensor::SafeTensors;
use sha2::{Digest, Sha256};
use vipaint_core::prior::{Denoiser, Prior};
use vipaint_nn::layers::weights::{self, Entry};

use crate::text_unet;
use crate::unet::UNet;
use crate::{Edm, Error, Family, Headed, Header, Loader, Network, Result, Source, read_weights, write_weights};

/// The metadata key of the description.
pub const MAGIC_KEY: &str = "vipaint.prior";

/// Reads a prior file.
///
/// # Errors
/// [`Error`] says what the file lacks or has wrong.
pub fn load_file(path: &Path) -> Result<Prior> {
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })?;
    load_bytes(&bytes)
}

/// Reads a prior from the bytes of its file, onto the CPU; its name is the one in the description, its hash the first 16 hexadecimal
/// digits of the bytes' SHA-256.
///
/// # Errors
/// As [`load_file`].
pub fn load_bytes(bytes: &[u8]) -> Result<Prior> {
    load_bytes_on(bytes, &Device::flex())
}

/// [`load_bytes`] with the weights on a device.
///
/// # Errors
/// As [`load_file`].
pub fn load_bytes_on(bytes: &[u8], device: &Device) -> Result<Prior> {
    if text_unet::is_text_prior(bytes)? {
        return Ok(text_unet::open_bytes_on(bytes, device)?.prior);
    }
    Ok(open_bytes_on(bytes, device)?.prior)
}

/// As [`load_bytes_on`], for a prior that reads no text.
///
/// # Errors
/// As [`load_file`].
pub fn open_bytes_on(bytes: &[u8], device: &Device) -> Result<Loaded> {
    let (header, mut network) = decode_on(bytes, device)?;
    network.pack();
    let network: Arc<dyn Network> = Arc::new(network);
    let mut prior = with_network(header.clone(), network.clone());
    prior.footprint = Some(header.footprint()?);
    prior.device = device.clone();
    prior.hash = crate::weights_file::short_hash(Sha256::digest(bytes));
    Ok(Loaded { header, network, prior })
}

/// A network as a prior, frozen, with no hash.
pub fn prior(header: Header, mut network: UNet) -> Prior {
    network.pack();
    with_network(header, Arc::new(network))
}

/// A prior with its description and its raw network.
#[derive(Clone)]
pub struct Loaded {
    /// The description.
    pub header: Header,
    /// The network itself.
    pub network: Arc<dyn Network>,
    /// The prior.
    pub prior: Prior,
}

/// The prior that `header` describes, of any family, with its tensors from `source`; without a hash.
///
/// # Errors
/// [`Error::Config`] for what cannot be built, or those of the source.
pub fn assemble(header: Header, source: &dyn Source) -> Result<Loaded> {
    assemble_from(header, &Loader::new(source, &Device::flex()))
}

/// [`assemble`] with a loader, which may put weights on another device and keep them in half precision ([`Loader::halved`]).
///
/// # Errors
/// As there.
pub fn assemble_from(header: Header, loader: &Loader<'_>) -> Result<Loaded> {
    let (network, autoencoder) = header.build(loader)?;
    let mut prior = with_network(header.clone(), network.clone());
    prior.footprint = Some(header.footprint()?);
    prior.device = loader.device().clone();
    if let Some(autoencoder) = autoencoder {
        prior.autoencoder = Arc::new(autoencoder);
    }
    Ok(Loaded { header, network, prior })
}

/// The prior that `header` describes, but for its autoencoder.
pub fn with_network(header: Header, network: Arc<dyn Network>) -> Prior {
    let denoiser: Arc<dyn Denoiser> = match header.parameterization.preconditioning() {
        Ok(preconditioning) => Arc::new(Edm::preconditioned(network, preconditioning)),
        Err(head) => Arc::new(Headed::new(network, head)),
    };
    let mut prior = Prior::new(header.name, denoiser, header.schedule, header.data_std);
    prior.classes = header.classes;
    prior.value_range = header.value_range;
    prior
}

/// The description and the network of a prior file, its weights as f32 on the CPU.
///
/// # Errors
/// As [`load_file`].
pub fn decode(bytes: &[u8]) -> Result<(Header, UNet)> {
    decode_on(bytes, &Device::flex())
}

fn decode_on(bytes: &[u8], device: &Device) -> Result<(Header, UNet)> {
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(MAGIC_KEY));
    let header = Header::from_json(json.ok_or_else(|| Error::Header("is missing".into()))?)?;
    let Family::Unet(config) = &header.network else {
        return Err(Error::Header("network: prior files hold the family `unet` only".into()));
    };
    let blank = config.blank(device)?;
    let values = read_weights(bytes, &weights::entries(&blank))?;
    Ok((header, weights::scatter(blank, &values, device)))
}

/// A prior file with f16 weights; `values` are the network's weights in the order of `entries`.
///
/// # Errors
/// As [`write_weights`].
pub fn encode(header: &Header, entries: &[Entry], values: &[f32]) -> Result<Vec<u8>> {
    write_weights(entries, values, &[(MAGIC_KEY, header.to_json())])
}
