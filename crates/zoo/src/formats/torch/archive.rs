//! The zip archive that `torch.save` writes: `NAME/data.pkl`, `NAME/data/KEY` for each storage, `NAME/byteorder`.
//!
//! Its entries are not compressed, so tensors are borrowed from the archive itself.

use std::collections::HashMap;
use std::ops::Range;

use rawzip::{CompressionMethod, ZipArchive};

use super::machine::Machine;
use super::{Found, state};
use crate::formats::error::{FormatError, Result};

/// More than any checkpoint has (one for each storage, and five).
const MAX_ENTRIES: usize = 1 << 18;
/// Larger than any description of tensors; one for a thousand tensors takes 100 kB.
const MAX_PICKLE: usize = 64 << 20;

pub(super) fn index(bytes: &[u8]) -> Result<Found> {
    let entries = entries(bytes)?;
    let mut pickles = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let (Some(folder), None) = (pickles.next(), pickles.next()) else {
        return Err(FormatError::Archive("has no (one) data.pkl".into()));
    };
    if entries.contains_key(&format!("{folder}constants.pkl")) {
        return Err(FormatError::Archive("is a TorchScript program, not weights".into()));
    }
    let part = |name: &str| match entries.get(&format!("{folder}{name}")) {
        Some(Some(range)) => Ok(range.clone()),
        Some(None) => Err(FormatError::Archive(format!(
            "entry {name} is compressed or encrypted, which torch.save does not do; unpack it and save it again"
        ))),
        None => Err(FormatError::Archive(format!("has no entry {name}, which a tensor needs"))),
    };
    let order = entries.contains_key(&format!("{folder}byteorder"));
    if order && bytes[part("byteorder")?].trim_ascii() != b"little" {
        return Err(FormatError::BigEndian);
    }
    let pickle = &bytes[part("data.pkl")?];
    if pickle.len() > MAX_PICKLE {
        return Err(FormatError::Limit { what: "bytes of data.pkl", limit: MAX_PICKLE });
    }
    let mut machine = Machine::new(pickle);
    let root = machine.run()?;
    state::collect(&machine.arena, root, |storage| part(&format!("data/{}", storage.key)))
}

/// Name and place of every entry; no place where it is compressed or encrypted.
type Entries = HashMap<String, Option<Range<usize>>>;

fn entries(bytes: &[u8]) -> Result<Entries> {
    let damaged = |error: rawzip::Error| FormatError::Archive(error.to_string());
    let archive = ZipArchive::from_slice(bytes).map_err(damaged)?;
    let (mut found, mut ranges) = (Entries::new(), Vec::new());
    let mut reader = archive.entries();
    while let Some(entry) = reader.next_entry().map_err(damaged)? {
        let path = entry.file_path();
        let Ok(name) = str::from_utf8(path.as_ref()) else {
            return Err(FormatError::Archive("has an entry whose name is not UTF-8".into()));
        };
        let refuse = |problem: &str| Err(FormatError::Archive(format!("entry {name} {problem}")));
        let as_it_is = entry.compression_method() == CompressionMethod::STORE && !entry.flags().is_encrypted();
        let place = archive.get_entry(entry.wayfinder()).map_err(damaged)?;
        let (start, end) = place.compressed_data_range();
        if as_it_is && end - start != entry.uncompressed_size_hint() {
            return refuse("has two different sizes");
        }
        if place.local_header().file_path().as_ref() != name.as_bytes() {
            return refuse("has two different names");
        }
        ranges.push((start as usize..end as usize, name.to_owned()));
        if found.insert(name.to_owned(), as_it_is.then_some(start as usize..end as usize)).is_some() {
            return refuse("is there twice");
        }
        if found.len() > MAX_ENTRIES {
            return Err(FormatError::Limit { what: "zip entries", limit: MAX_ENTRIES });
        }
    }
    apart(ranges)?;
    Ok(found)
}

/// Checks that no two entries share bytes: readers would disagree about what the archive holds.
fn apart(mut ranges: Vec<(Range<usize>, String)>) -> Result<()> {
    ranges.retain(|(range, _)| !range.is_empty());
    ranges.sort_by_key(|(range, _)| range.start);
    for pair in ranges.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if a.end > b.start {
            return Err(FormatError::Archive(format!("entries {first} and {second} overlap")));
        }
    }
    Ok(())
}
