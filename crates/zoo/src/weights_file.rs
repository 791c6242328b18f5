//! Weights by name in safetensors files.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use vipaint_nn::layers::weights::Entry;

use crate::{Error, Result};

/// A safetensors file with f16 weights; `values` are those of all `entries`, concatenated.
///
/// # Errors
/// [`Error::NotFinite`] if a weight leaves the range of f16.
///
/// # Panics
/// If there are fewer values than the entries need.
pub fn write_weights(entries: &[Entry], values: &[f32], metadata: &[(&str, String)]) -> Result<Vec<u8>> {
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
    let metadata: HashMap<String, String> = metadata.iter().map(|(k, v)| ((*k).to_string(), v.clone())).collect();
    Ok(safetensors::serialize(views, Some(metadata))?)
}

/// The values of all `entries`, concatenated, from a file (F32, F16 or BF16) that has exactly those.
///
/// # Errors
/// [`Error`] names the tensor that is missing, unexpected, of the wrong shape or type, or not finite.
pub fn read_weights(bytes: &[u8], entries: &[Entry]) -> Result<Vec<f32>> {
    let file = SafeTensors::deserialize(bytes)?;
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

/// The short hash by which priors are told apart: the first 64 bits of a SHA-256, in hexadecimal.
pub(crate) fn short_hash(digest: impl AsRef<[u8]>) -> String {
    let first = digest.as_ref().iter().take(8);
    first.fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
