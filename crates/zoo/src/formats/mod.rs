//! Checkpoints as they are found: safetensors (one file, or shards with an index), torch files (`.ckpt`, `.pt`, `.pth`,
//! `.bin`) and diffusers folders. All yield tensors by name.
//!
//! Nothing in a torch file is executed: a pickle is read by an interpreter that knows dictionaries, numbers and tensors, see
//! [`mod@torch`]. Files are mapped into memory and tensors borrow from them; nothing larger than the file is ever made from it.

mod data;
mod ema;
mod error;
mod folder;
mod layout;
mod mismatch;
mod safetensors;
mod tensor;
mod torch;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use data::Data;
pub use error::FormatError;
use error::Result;
pub(crate) use folder::json as read_json;
pub use folder::{Folder, Part, weights_file};
pub use layout::{Layout, TextEncoder, layout, text_encoder};
pub use mismatch::Mismatch;
use tensor::Strided;
pub use tensor::{Dtype, TensorRef};

use crate::source::Buffer;

/// The tensors of a checkpoint, by name.
pub struct Checkpoint {
    files: Vec<Data>,
    found: Found,
    ema: bool,
}

/// What a reader finds in a file.
#[derive(Debug, Default)]
struct Found {
    tensors: BTreeMap<String, Place>,
    /// What has a name but is no tensor of plain numbers, and what makes it.
    foreign: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    /// Whether these are averaged weights.
    ema: bool,
}

/// Where a tensor's storage is.
#[derive(Debug, Clone)]
struct Place {
    file: usize,
    range: Range<usize>,
    strided: Strided,
}

impl Checkpoint {
    /// Opens a file of any kind, the index of a sharded one (`*.safetensors.index.json`), or a folder with weights as
    /// diffusers and transformers name them.
    ///
    /// Averaged (EMA) weights replace the last ones where a file has both, under the names of the latter.
    ///
    /// The file must not be changed while the checkpoint is in use: it is mapped into memory, not copied.
    ///
    /// # Errors
    /// [`FormatError`] says what is wrong with the file.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Self::open(&weights_file(path)?);
        }
        if path.extension().is_some_and(|extension| extension == "json") {
            let mut all = Self { files: Vec::new(), found: Found::default(), ema: false };
            for shard in folder::shards(path)? {
                all.add(Data::open(&shard)?)?;
            }
            return all.finish();
        }
        Self::of(Data::open(path)?)
    }

    /// Reads a file from memory.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::of(Data::Bytes(bytes))
    }

    fn of(data: Data) -> Result<Self> {
        let mut checkpoint = Self { files: Vec::new(), found: Found::default(), ema: false };
        checkpoint.add(data)?;
        checkpoint.finish()
    }

    /// Adds the tensors of a file.
    fn add(&mut self, data: Data) -> Result<()> {
        let found = read(&data)?;
        let file = self.files.len();
        self.files.push(data);
        for (name, place) in found.tensors {
            if self.found.tensors.contains_key(&name) {
                return Err(FormatError::Tensor { name, problem: "is in two files".into() });
            }
            self.found.tensors.insert(name, Place { file, ..place });
        }
        self.found.foreign.extend(found.foreign);
        self.found.metadata.extend(found.metadata);
        self.ema |= found.ema;
        Ok(())
    }

    fn finish(mut self) -> Result<Self> {
        if self.found.tensors.is_empty() && self.found.foreign.is_empty() {
            return Err(FormatError::Empty);
        }
        self.ema |= ema::prefer(&mut self.found.tensors)?;
        Ok(self)
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.found.tensors.keys().map(String::as_str)
    }

    /// Its tensors, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = TensorRef<'_>> {
        self.found.tensors.iter().map(|(name, place)| self.view(name, place))
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`FormatError::NoTensor`] when there is none of this name, [`FormatError::Depends`] when it needs something that is
    /// not supported.
    pub fn get(&self, name: &str) -> Result<TensorRef<'_>> {
        if let Some((name, place)) = self.found.tensors.get_key_value(name) {
            return Ok(self.view(name, place));
        }
        Err(match self.found.foreign.get(name) {
            Some(global) => FormatError::Depends { name: name.to_owned(), global: global.clone() },
            None => FormatError::NoTensor(name.to_owned()),
        })
    }

    fn view<'a>(&'a self, name: &'a str, place: &'a Place) -> TensorRef<'a> {
        TensorRef::new(name, &place.strided, &self.files[place.file], place.range.clone())
    }

    /// A safetensors file's own metadata.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.found.metadata
    }

    /// Whether its weights are averaged ones (EMA) by their names.
    pub fn is_ema(&self) -> bool {
        self.ema
    }

    /// How its tensors differ from those a network needs: `expected` has their names and shapes; tensors of the file whose
    /// name does not begin with `prefix` are not looked at, and those that do are compared without it.
    pub fn compare<'a>(&self, prefix: &str, expected: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Mismatch {
        let got = self.found.tensors.iter();
        let got = got.filter_map(|(name, place)| Some((name.strip_prefix(prefix)?, &place.strided.shape[..])));
        Mismatch::between(expected, got)
    }
}

/// The weights of a network that has the names of its checkpoint.
impl crate::Source for Checkpoint {
    fn tensor(&self, name: &str, shape: &[usize]) -> crate::Result<Vec<f32>> {
        self.values(name, shape).map(crate::Values::into_vec)
    }

    fn values(&self, name: &str, shape: &[usize]) -> crate::Result<crate::Values<'_>> {
        self.get(name)?.weights(name, shape, None)
    }
}

impl<'a> TensorRef<'a> {
    /// Its numbers as weights of this shape, called `name` in errors; borrowed from the file if they are there in single precision, else
    /// in `buffer`, if that is given, until they are dropped.
    ///
    /// # Errors
    /// When it has another shape or type, or values that are not finite.
    pub(crate) fn weights<'b>(
        &self,
        name: &str,
        shape: &[usize],
        buffer: Option<&'b Buffer>,
    ) -> crate::Result<crate::Values<'b>>
    where
        'a: 'b,
    {
        if self.shape() != shape {
            let (expected, got) = (shape.to_vec(), self.shape().to_vec());
            return Err(crate::Error::Shape { name: name.to_owned(), expected, got });
        }
        let values = match self.in_place() {
            Some(values) => crate::Values::mapped(self.clone(), values),
            None => crate::Values::converted(self.clone(), buffer, |values| self.convert(values))?,
        };
        if tensor::all_finite(&values) { Ok(values) } else { Err(crate::Error::NotFinite(name.to_owned())) }
    }
}

/// Reads a file of any kind.
fn read(bytes: &[u8]) -> Result<Found> {
    // Safetensors first: the length of a header may begin as a pickle does, but as a length torch's first bytes are beyond
    // every file.
    let header = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    let fits = header.is_some_and(|header| header < bytes.len() as u64);
    if fits && bytes.get(8) == Some(&b'{') {
        safetensors::index(bytes)
    } else if torch::is_torch(bytes) {
        torch::index(bytes)
    } else {
        Err(FormatError::Unknown)
    }
}
