//! Priors on the Hugging Face hub: `hf:ORG/REPO[/FILE][@REVISION]`.

#[cfg_attr(not(feature = "hub"), path = "absent.rs")]
mod remote;

use std::ops::ControlFlow;
use std::path::Path;

use sha2::{Digest, Sha256};

pub use remote::{Remote, fetch_wheel, pull};

use crate::error::{Error, Result};

/// What happens while files arrive.
#[derive(Debug)]
pub enum Step<'a> {
    /// Bytes are there.
    Bytes {
        /// The file they belong to.
        file: &'a str,
        /// Bytes of all files that are there.
        done: u64,
        /// Bytes of all files.
        all: u64,
    },
    /// Something a user should know.
    Told(String),
}

/// A file of a Python package.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    /// The package's name in the index.
    pub package: &'a str,
    /// The file's name.
    pub file: &'a str,
    /// Its SHA-256, in lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// Its bytes.
    pub size: u64,
}

impl Wheel<'_> {
    /// Checks that a file is this one.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not, or cannot be read.
    pub fn check(&self, path: &Path) -> Result<()> {
        let mut file = std::fs::File::open(path).map_err(|error| Error::unreadable(path, &error))?;
        let mut hash = Sha256::new();
        std::io::copy(&mut file, &mut hash).map_err(|error| Error::unreadable(path, &error))?;
        let found = format!("{:x}", hash.finalize());
        if found == self.sha256 {
            return Ok(());
        }
        let problem = format!("has the SHA-256 {found} instead of {}", self.sha256);
        Err(Error::input(path.display().to_string(), problem, "take another copy of this version"))
    }
}

/// Is told about every [`Step`], and stops the work with [`ControlFlow::Break`].
pub type Watcher<'a> = dyn FnMut(&Step) -> ControlFlow<()> + 'a;
