//! Messages: a little-endian u64 length, then that many bytes of a safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::io::{ErrorKind, Read};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::{ExecError, Result};

/// Longest message.
pub const MAX_MESSAGE: u64 = 1 << 30;

/// A message: metadata, and tensors by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Metadata of the safetensors file.
    pub metadata: BTreeMap<String, String>,
    /// Tensors.
    pub tensors: BTreeMap<String, Values>,
}

/// A tensor of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<usize>, Vec<f32>),
    /// Double precision.
    F64(Vec<usize>, Vec<f64>),
    /// Whole numbers.
    I64(Vec<usize>, Vec<i64>),
}

impl Message {
    /// A request.
    pub fn request(op: &'static str) -> Self {
        Self { metadata: BTreeMap::from([("op".into(), op.into())]), tensors: BTreeMap::new() }
    }

    /// Adds a tensor.
    #[must_use]
    pub fn with(mut self, name: &str, values: Values) -> Self {
        self.tensors.insert(name.into(), values);
        self
    }

    /// The message with its length before it.
    ///
    /// # Errors
    /// [`ExecError::TooLarge`]; [`ExecError::Garbage`] when values do not fit their shape.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let bytes: Vec<_> = self.tensors.iter().map(|(name, values)| (name, values.encode())).collect();
        let views = bytes
            .iter()
            .map(|(name, (dtype, shape, bytes))| Ok((name.as_str(), TensorView::new(*dtype, shape.to_vec(), bytes)?)));
        let views: std::result::Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
        let metadata: HashMap<String, String> = self.metadata.clone().into_iter().collect();
        let file = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        let file = file.map_err(|error| ExecError::Garbage(error.to_string()))?;
        let length = file.len() as u64;
        if length > MAX_MESSAGE {
            Err(ExecError::TooLarge(length))
        } else {
            Ok([&length.to_le_bytes()[..], &file].concat())
        }
    }

    /// Reads the bytes of a message, without the length.
    ///
    /// # Errors
    /// [`ExecError::Garbage`] when they are no safetensors file, or hold other types than F32, F64, I64.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let garbage = |problem: String| ExecError::Garbage(problem);
        let (length, header) = SafeTensors::read_metadata(bytes).map_err(|error| garbage(error.to_string()))?;
        let metadata = header.metadata().clone().unwrap_or_default().into_iter().collect();
        let mut message = Self { metadata, ..Self::default() };
        for (name, info) in header.tensors() {
            // The library's check of the places may wrap around; `get` does not.
            let place = |offset: usize| offset.saturating_add(8 + length);
            let range = place(info.data_offsets.0)..place(info.data_offsets.1);
            let Some(data) = bytes.get(range) else { return Err(garbage(format!("tensor {name} lies outside of it"))) };
            let Some(values) = Values::decode(info.dtype, &info.shape, data) else {
                return Err(garbage(format!("tensor {name} is {:?}; use F32, F64 or I64", info.dtype)));
            };
            message.tensors.insert(name, values);
        }
        Ok(message)
    }

    /// Reads a message from a stream; `None` where the stream ends before one.
    ///
    /// # Errors
    /// [`ExecError::Garbage`] and [`ExecError::TooLarge`]; memory is taken only for bytes that came.
    pub fn read(stream: &mut impl Read) -> Result<Option<Self>> {
        let mut length = [0; 8];
        let got = fill(stream, &mut length)?;
        if got == 0 {
            return Ok(None);
        }
        let announced = u64::from_le_bytes(length);
        if got < 8 || announced > MAX_MESSAGE {
            let shown = String::from_utf8_lossy(&length[..got]);
            if got == 8 && !length.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
                return Err(ExecError::TooLarge(announced));
            }
            let hint = "does the program print to standard output? Only messages may go there";
            return Err(ExecError::Garbage(format!("it begins with {shown:?}; {hint}")));
        }
        let mut bytes = Vec::new();
        let read = stream.by_ref().take(announced).read_to_end(&mut bytes);
        if read.is_err() || bytes.len() as u64 != announced {
            return Err(ExecError::Garbage(format!("it ends after {} of {announced} bytes", bytes.len())));
        }
        Self::decode(&bytes).map(Some)
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match stream.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ExecError::Garbage(error.to_string())),
        }
    }
    Ok(got)
}

impl Values {
    fn encode(&self) -> (Dtype, &[usize], Vec<u8>) {
        match self {
            Self::F32(shape, values) => (Dtype::F32, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::F64(shape, values) => (Dtype::F64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Self::I64(shape, values) => (Dtype::I64, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        }
    }

    fn decode(dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Option<Self> {
        let shape = shape.to_vec();
        Some(match dtype {
            Dtype::F32 => Self::F32(shape, bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
            Dtype::F64 => Self::F64(shape, bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()),
            Dtype::I64 => Self::I64(shape, bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            _ => return None,
        })
    }
}
