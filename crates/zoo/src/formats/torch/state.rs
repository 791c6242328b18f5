//! From the object in a torch file to tensors by name.

use std::ops::Range;

use super::value::{Arena, Storage, Value};
use super::{Found, Place};
use crate::formats::error::{FormatError, Result};
use crate::formats::tensor::Strided;

/// Keys under which training programs keep the weights, the averaged ones first.
const NESTS: [(&str, bool); 8] = [
    ("params_ema", true),
    ("model_ema", true),
    ("ema", true),
    ("state_dict", false),
    ("model_state_dict", false),
    ("model", false),
    ("params", false),
    ("net", false),
];
/// Dictionaries inside one another.
const MAX_DEPTH: usize = 8;
/// Names, far more than any network has.
const MAX_NAMES: usize = 1 << 20;

/// Collects the tensors of a state dict, or of the one that a training checkpoint holds. `place` finds a storage's bytes.
pub(super) fn collect<'a>(
    arena: &Arena<'a>,
    root: Value<'a>,
    place: impl Fn(&Storage<'a>) -> Result<Range<usize>>,
) -> Result<Found> {
    let Value::Dictionary(_) = root else { return Err(FormatError::Object { global: arena.describe(root) }) };
    let nest = NESTS.iter().find_map(|(key, ema)| {
        let inner = entries(arena, root).rev().find(|(name, _)| name == key)?.1;
        let weights = entries(arena, inner).any(|(_, value)| matches!(value, Value::Tensor(_)));
        weights.then_some((inner, *ema))
    });
    let (root, ema) = nest.unwrap_or((root, false));
    let mut walk = Walk { arena, place, found: Found { ema, ..Found::default() }, names: 0 };
    walk.dictionary("", root, 0)?;
    Ok(walk.found)
}

/// The entries of a dictionary that have a name.
fn entries<'a, 's>(
    arena: &'s Arena<'a>,
    value: Value<'a>,
) -> impl DoubleEndedIterator<Item = (&'a str, Value<'a>)> + 's {
    let pairs = match value {
        Value::Dictionary(id) => &arena.dictionaries[id as usize][..],
        _ => &[],
    };
    pairs.iter().filter_map(|(key, value)| match key {
        Value::Text(name) => Some((*name, *value)),
        _ => None,
    })
}

struct Walk<'a, 's, P> {
    arena: &'s Arena<'a>,
    place: P,
    found: Found,
    names: usize,
}

impl<'a, P: Fn(&Storage<'a>) -> Result<Range<usize>>> Walk<'a, '_, P> {
    fn dictionary(&mut self, prefix: &str, value: Value<'a>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(FormatError::Limit { what: "dictionaries inside one another", limit: MAX_DEPTH });
        }
        let arena = self.arena;
        for (key, value) in entries(arena, value) {
            // A dictionary that many others refer to is walked once for each, so steps are counted, not entries.
            self.names += 1;
            if self.names > MAX_NAMES {
                return Err(FormatError::Limit { what: "names", limit: MAX_NAMES });
            }
            let name = format!("{prefix}{key}");
            match value {
                Value::Tensor(id) => {
                    let place = self.tensor(&name, id)?;
                    self.found.tensors.insert(name, place);
                }
                Value::Foreign(_) => {
                    self.found.foreign.insert(name, arena.describe(value));
                }
                Value::Dictionary(_) => self.dictionary(&format!("{name}."), value, depth + 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn tensor(&self, name: &str, id: u32) -> Result<Place> {
        let tensor = &self.arena.tensors[id as usize];
        let storage = &self.arena.storages[tensor.storage as usize];
        let range = (self.place)(storage)?;
        let wrong = |problem: String| FormatError::Tensor { name: name.to_owned(), problem };
        let size = tensor.dtype.size();
        let count = if storage.dtype.is_some() { storage.count } else { storage.count / size };
        if count.checked_mul(size).is_none_or(|bytes| bytes > range.len()) {
            let problem = format!("its storage should have {count} numbers, but has {} bytes", range.len());
            return Err(wrong(problem));
        }
        let (shape, strides) = (tensor.shape.clone(), tensor.strides.clone());
        let strided = Strided::new(tensor.dtype, shape, strides, tensor.offset, count).map_err(wrong)?;
        Ok(Place { file: 0, range, strided })
    }
}
