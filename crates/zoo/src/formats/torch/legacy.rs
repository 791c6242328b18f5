//! Torch files from before PyTorch 1.6: four pickles (a magic number, a version, the machine's traits, the object), one with
//! the keys of the storages, then each storage as its count of numbers (8 bytes) and the numbers.

use std::collections::HashMap;
use std::ops::Range;

use super::machine::Machine;
use super::value::Value;
use super::{Found, state};
use crate::formats::error::{FormatError, Result};

/// The pickle of the magic number 0x1950a86a20f9469cfc6c, after the protocol's number.
const MAGIC: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

pub(super) fn is_legacy(bytes: &[u8]) -> bool {
    bytes.get(2..).is_some_and(|bytes| bytes.starts_with(MAGIC))
}

pub(super) fn index(bytes: &[u8]) -> Result<Found> {
    let mut machine = Machine::new(bytes);
    machine.run()?;
    let fail = |at, problem: &str| Err(FormatError::Pickle { at, problem: problem.into() });
    if !matches!(machine.run()?, Value::Int(1001)) {
        return fail(machine.at(), "a version of torch's format that is not 1001");
    }
    let traits = machine.run()?;
    if big_endian(&machine, traits) {
        return Err(FormatError::BigEndian);
    }
    let root = machine.run()?;
    let keys = machine.run()?;
    let keys = machine.arena.items(keys).unwrap_or_default();

    // The size of a number is known from what refers to a storage.
    let sizes: HashMap<&str, usize> =
        machine.arena.storages.iter().map(|s| (s.key, s.dtype.map_or(1, crate::formats::Dtype::size))).collect();
    let mut places: HashMap<&str, Range<usize>> = HashMap::new();
    let mut at = machine.at();
    for key in keys {
        let Value::Text(key) = key else { return fail(at, "a storage's key is not text") };
        let Some(size) = sizes.get(key) else { return fail(at, "a storage of a type that is not known") };
        let count = bytes.get(at..).and_then(<[u8]>::first_chunk).map(|count| u64::from_le_bytes(*count));
        let start = at.saturating_add(8);
        let length = count.and_then(|count| usize::try_from(count).ok()?.checked_mul(*size));
        let end = length.and_then(|length| start.checked_add(length)).filter(|end| *end <= bytes.len());
        let Some(end) = end else { return fail(at, "the file ends inside a storage") };
        places.insert(key, start..end);
        at = end;
    }
    state::collect(&machine.arena, root, |storage| {
        let place = places.get(storage.key).cloned();
        place.ok_or_else(|| FormatError::Pickle { at, problem: format!("has no storage {}", storage.key) })
    })
}

fn big_endian(machine: &Machine<'_>, traits: Value<'_>) -> bool {
    let Value::Dictionary(id) = traits else { return false };
    let mut pairs = machine.arena.dictionaries[id as usize].iter();
    pairs.any(|pair| matches!(pair, (Value::Text("little_endian"), Value::Bool(false))))
}
