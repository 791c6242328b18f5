//! Safetensors files: a JSON header, then the numbers.

use safetensors::tensor::{Dtype as Type, SafeTensors};

use super::error::{FormatError, Result};
use super::tensor::{Dtype, Strided};
use super::{Found, Place};

/// Where the tensors of a file are.
pub(super) fn index(bytes: &[u8]) -> Result<Found> {
    let (header, metadata) = SafeTensors::read_metadata(bytes)?;
    let mut found = Found::default();
    for (name, info) in metadata.tensors() {
        // The sums that the library checks may wrap around, so the ends are compared with the file here, too.
        let place = |offset: usize| offset.checked_add(8 + header).filter(|end| *end <= bytes.len());
        let range = place(info.data_offsets.0).zip(place(info.data_offsets.1));
        let Some((start, end)) = range.filter(|(start, end)| start <= end) else {
            return Err(FormatError::Tensor { name, problem: "lies beyond the end of the file".into() });
        };
        match dtype(info.dtype) {
            Some(dtype) => {
                let strided = Strided::dense(dtype, info.shape.clone());
                found.tensors.insert(name, Place { file: 0, range: start..end, strided });
            }
            None => {
                found.foreign.insert(name, format!("type {:?}", info.dtype));
            }
        }
    }
    found.metadata = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(found)
}

fn dtype(dtype: Type) -> Option<Dtype> {
    Some(match dtype {
        Type::F64 => Dtype::F64,
        Type::F32 => Dtype::F32,
        Type::F16 => Dtype::F16,
        Type::BF16 => Dtype::BF16,
        Type::I64 => Dtype::I64,
        Type::I32 => Dtype::I32,
        Type::I16 => Dtype::I16,
        Type::I8 => Dtype::I8,
        Type::U8 => Dtype::U8,
        Type::BOOL => Dtype::Bool,
        _ => return None,
    })
}
