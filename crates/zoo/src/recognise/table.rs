//! The tensors of what was opened, under the names that networks use.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::formats::{Mismatch, TensorRef};
use crate::source::Buffer;
use crate::{Error, Inventory, Result, Source, Values};

/// Tensors by the names that networks ask for.
#[derive(Debug, Default)]
pub struct Table<'a> {
    rows: BTreeMap<String, TensorRef<'a>>,
    /// Where tensors are converted.
    buffer: Buffer,
}

/// Pieces of a tensor that go into the hash, evenly spaced.
const PIECES: usize = 4;
/// Bytes of a piece.
const PIECE: usize = 64;

impl<'a> Table<'a> {
    /// Adds a tensor under the name that networks use for it.
    pub fn insert(&mut self, name: impl Into<String>, tensor: TensorRef<'a>) {
        self.rows.insert(name.into(), tensor);
    }

    /// A tensor.
    pub fn get(&self, name: &str) -> Option<&TensorRef<'a>> {
        self.rows.get(name)
    }

    /// The tensors whose names begin with `prefix`, a path that ends in a dot or is empty.
    pub fn below(&self, prefix: impl Into<String>) -> Below<'_, 'a> {
        Below { table: self, prefix: prefix.into() }
    }

    /// Gives the memory back that tensors were converted in.
    pub(super) fn rest(&self) {
        self.buffer.take();
    }

    /// How many tensors there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Names and types, sorted.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorRef<'a>)> {
        self.rows.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How these tensors differ from what is needed, but for those that are `allowed` without being needed.
    pub fn compare(&self, needed: &Inventory, allowed: impl Fn(&str) -> bool) -> Mismatch {
        let expected = needed.entries.iter().map(|entry| (entry.name.as_str(), entry.shape.as_slice()));
        let got = self.rows.iter().map(|(name, tensor)| (name.as_str(), tensor.shape()));
        let mut mismatch = Mismatch::between(expected, got);
        mismatch.unexpected.retain(|name| !allowed(name) && !needed.unused.contains(name));
        mismatch
    }

    /// 16 hexadecimal digits that differ where `description`, a name, a type, a shape or weights differ: the first of the SHA-256
    /// over the description, and of each tensor its name, type, shape, and four pieces of 64 bytes. Training and fine-tuning change
    /// nearly every weight, so that nearly any piece tells; a file of gigabytes need not be read for it.
    pub fn hash(&self, description: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(description);
        for (name, tensor) in &self.rows {
            hash.update(format!("\n{name} {:?} {:?}\n", tensor.dtype(), tensor.shape()));
            let bytes = tensor.bytes();
            for piece in 0..PIECES {
                let start = bytes.len().saturating_sub(PIECE) / (PIECES - 1) * piece;
                hash.update(&bytes[start..(start + PIECE).min(bytes.len())]);
            }
            // The system maps much more than it was asked for.
            tensor.release();
        }
        crate::weights_file::short_hash(hash.finalize())
    }
}

impl Source for Table<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.values(name, shape).map(Values::into_vec)
    }

    fn values(&self, name: &str, shape: &[usize]) -> Result<Values<'_>> {
        match self.rows.get(name) {
            Some(tensor) => tensor.weights(name, shape, Some(&self.buffer)),
            None => Err(Error::Missing(vec![name.to_owned()])),
        }
    }
}

/// A part of a [`Table`]. Names are relative to it.
#[derive(Debug)]
pub struct Below<'t, 'a> {
    table: &'t Table<'a>,
    prefix: String,
}

impl Below<'_, '_> {
    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// Whether there is any tensor whose name begins so.
    pub fn any(&self, start: &str) -> bool {
        let start = format!("{}{start}", self.prefix);
        self.table.rows.range(start.clone()..).next().is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// How many consecutive numbers, from 0 on, begin a name after `start`: the entries of a list.
    pub fn count(&self, start: &str) -> usize {
        (0..=self.table.rows.len()).take_while(|i| self.any(&format!("{start}{i}."))).count()
    }

    /// The shape of a tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.table.rows.get(&format!("{}{name}", self.prefix)).map(TensorRef::shape)
    }

    /// The shape of a tensor that must be there, with `N` dimensions.
    ///
    /// # Errors
    /// [`Error::Missing`] or [`Error::Dimensions`].
    pub fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N]> {
        let full = || format!("{}{name}", self.prefix);
        let shape = self.shape(name).ok_or_else(|| Error::Missing(vec![full()]))?;
        shape.try_into().map_err(|_| Error::Dimensions { name: full(), expected: N, got: shape.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};
    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::formats::Checkpoint;

    #[test]
    fn tensors_are_converted_in_the_same_memory() {
        let ramp = |len: usize| (0..len).map(|i| i as f32 - 3.5).collect::<Vec<_>>();
        let half: Vec<u8> = ramp(600).iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
        let brain: Vec<u8> = ramp(7).iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
        let views = [("a", Dtype::F16, 600, &half), ("b", Dtype::BF16, 7, &brain)]
            .map(|(name, dtype, len, bytes)| (name, TensorView::new(dtype, vec![len], bytes).unwrap()));
        let file = Checkpoint::from_bytes(safetensors::serialize(views, None).unwrap()).unwrap();
        let mut table = Table::default();
        for tensor in file.tensors() {
            table.insert(tensor.name(), tensor);
        }
        let large = table.values("a", &[600]).unwrap();
        let memory = large.as_ptr();
        let small = table.values("b", &[7]).unwrap();
        assert!(*large == ramp(600)[..] && *small == ramp(7)[..]);
        // The larger stays, in whichever order they go.
        drop(large);
        drop(small);
        let small = table.values("b", &[7]).unwrap();
        assert_eq!((small.as_ptr(), &*small), (memory, &ramp(7)[..]));
        assert_eq!(*small.part(2..5), ramp(7)[2..5]);
        assert_eq!(table.tensor("b", &[7]).unwrap(), ramp(7));
        assert_eq!(*table.values("a", &[600]).unwrap(), ramp(600)[..]);
    }
}
