//! Prior files: safetensors with the weights by name, and the [`Header`] as JSON in the metadata.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use sha2::{Digest, Sha256};
use vipaint_core::prior::{Denoiser, Prior};
use vipaint_nn::layers::weights::{self, Entry};

use crate::unet::UNet;
use crate::{Edm, Error, Headed, Header, Parameterization, Result};

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

/// Reads a prior from the bytes of its file; its name is the one in the description, its hash the first 16 hexadecimal
/// digits of the bytes' SHA-256.
///
/// # Errors
/// As [`load_file`].
pub fn load_bytes(bytes: &[u8]) -> Result<Prior> {
    let (header, network) = decode(bytes)?;
    let mut prior = prior(header, network);
    prior.hash = Sha256::digest(bytes).iter().take(8).map(|b| format!("{b:02x}")).collect();
    Ok(prior)
}

/// A network as a prior, with no hash.
pub fn prior(header: Header, network: UNet) -> Prior {
    let denoiser: Arc<dyn Denoiser> = match header.parameterization {
        Parameterization::Edm { sigma_data } => Arc::new(Edm::new(network, sigma_data)),
        Parameterization::Head { head } => Arc::new(Headed::new(network, head)),
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
    let (_, metadata) = SafeTensors::read_metadata(bytes)?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(MAGIC_KEY));
    let header = Header::from_json(json.ok_or_else(|| Error::Header("is missing".into()))?)?;
    let file = SafeTensors::deserialize(bytes)?;
    let device = Device::flex();
    let blank = header.network.blank(&device)?;
    let entries = weights::entries(&blank);
    let values = read_weights(&file, &entries)?;
    Ok((header, weights::scatter(blank, &values, &device)))
}

/// A prior file with f16 weights; `values` are the network's weights in the order of `entries`.
///
/// # Errors
/// [`Error::NotFinite`] if a weight leaves the range of f16.
pub fn encode(header: &Header, entries: &[Entry], values: &[f32]) -> Result<Vec<u8>> {
    let mut rest = values;
    let mut tensors = Vec::with_capacity(entries.len());
    for entry in entries {
        let (mine, after) = rest.split_at(entry.len());
        rest = after;
        let halves: Vec<f16> = mine.iter().map(|x| f16::from_f32(*x)).collect();
        if halves.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite(entry.name.clone()));
        }
        let bytes: Vec<u8> = halves.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((entry, bytes));
    }
    let views = tensors
        .iter()
        .map(|(entry, bytes)| Ok((entry.name.as_str(), TensorView::new(Dtype::F16, entry.shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>>>()?;
    let metadata = HashMap::from([(MAGIC_KEY.to_string(), header.to_json())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The values of all `entries`, concatenated, from a file that has exactly those.
fn read_weights(file: &SafeTensors<'_>, entries: &[Entry]) -> Result<Vec<f32>> {
    let mut views: BTreeMap<String, TensorView<'_>> = file.tensors().into_iter().collect();
    let missing: Vec<String> = entries.iter().map(|e| e.name.clone()).filter(|n| !views.contains_key(n)).collect();
    if !missing.is_empty() {
        return Err(Error::Missing(missing));
    }
    let mut values = Vec::new();
    for entry in entries {
        let Some(view) = views.remove(&entry.name) else { continue };
        if view.shape() != entry.shape {
            let (expected, got) = (entry.shape.clone(), view.shape().to_vec());
            return Err(Error::Shape { name: entry.name.clone(), expected, got });
        }
        let before = values.len();
        append(&mut values, &entry.name, &view)?;
        if values[before..].iter().any(|x: &f32| !x.is_finite()) {
            return Err(Error::NotFinite(entry.name.clone()));
        }
    }
    if !views.is_empty() {
        return Err(Error::Unexpected(views.into_keys().collect()));
    }
    Ok(values)
}

fn append(values: &mut Vec<f32>, name: &str, view: &TensorView<'_>) -> Result<()> {
    let halves = |data: &[u8], convert: fn([u8; 2]) -> f32| -> Vec<f32> {
        data.chunks_exact(2).map(|b| convert([b[0], b[1]])).collect()
    };
    match view.dtype() {
        Dtype::F32 => {
            values.extend(view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        }
        Dtype::F16 => values.extend(halves(view.data(), |b| f16::from_le_bytes(b).to_f32())),
        Dtype::BF16 => values.extend(halves(view.data(), |b| bf16::from_le_bytes(b).to_f32())),
        other => return Err(Error::Dtype { name: name.to_string(), dtype: format!("{other:?}") }),
    }
    Ok(())
}
