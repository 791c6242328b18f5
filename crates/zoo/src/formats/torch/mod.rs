//! Torch files, read without running anything: a zip archive (since PyTorch 1.6) or the older sequence of pickles.
//!
//! A pickle is a program for a stack machine that may call any Python function. The machine here knows dictionaries, lists,
//! numbers, text and tensors; every other function is an inert name, so that optimizer states, callbacks and configurations
//! in a checkpoint are passed over, and a tensor that depends on one is refused with that name. Names that only an attack
//! would use are refused outright.

mod archive;
mod code;
mod globals;
mod legacy;
mod machine;
mod state;
mod value;

use super::error::{FormatError, Result};
use super::{Found, Place};
use machine::Machine;

/// Whether the bytes begin as a torch file, or another pickle, does.
pub(super) fn is_torch(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || is_pickle(bytes) || is_tar(bytes)
}

fn is_pickle(bytes: &[u8]) -> bool {
    matches!(bytes, [0x80, 2..=5, ..])
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

/// Where the tensors of a file are.
pub(super) fn index(bytes: &[u8]) -> Result<Found> {
    if bytes.starts_with(b"PK") {
        archive::index(bytes)
    } else if legacy::is_legacy(bytes) {
        legacy::index(bytes)
    } else if is_tar(bytes) {
        let global = "tar archive of PyTorch before 0.2 (load and save it with a newer one)".to_owned();
        Err(FormatError::Object { global })
    } else {
        plain(bytes)
    }
}

/// A pickle that torch.save did not write: never weights that could be read, but its class tells what it is.
fn plain(bytes: &[u8]) -> Result<Found> {
    let mut machine = Machine::new(bytes);
    let root = machine.run()?;
    let global = machine.arena.describe(root);
    Err(FormatError::Object { global })
}
