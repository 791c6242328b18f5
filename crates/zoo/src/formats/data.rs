//! The bytes of a file, mapped into memory.

use std::fs::File;
use std::ops::Deref;
use std::path::Path;

use super::error::{FormatError, Result};

/// Bytes of a checkpoint.
pub(super) enum Data {
    /// A file, read by the system page by page as it is used.
    Map(memmap2::Mmap),
    /// Bytes in memory.
    Bytes(Vec<u8>),
}

impl Data {
    /// Maps a file.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| FormatError::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(failed)?;
        // An empty file cannot be mapped on every system.
        if file.metadata().map_err(failed)?.len() == 0 {
            return Ok(Self::Bytes(Vec::new()));
        }
        // SAFETY: the map is only read. That nobody shortens or rewrites the file meanwhile is the condition stated in
        // `Checkpoint::open`; every program that maps weights relies on it.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        Ok(Self::Map(map))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Bytes(bytes) => bytes,
        }
    }
}
