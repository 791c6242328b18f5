//! Configurations of diffusers: every option is read, or has the only value that is supported, or is refused by its name.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::formats::FormatError;
use crate::{Error, Result};

/// The options of a JSON file that have not been read yet.
pub(super) struct Options {
    path: PathBuf,
    rows: Map<String, Value>,
}

/// Larger than any configuration.
const MAX_BYTES: u64 = 1 << 20;

impl Options {
    /// Reads a file. What diffusers notes for itself (`_class_name`, ...) and what is null is left out.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::Io { path: path.to_path_buf(), source };
        if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
            return Err(FormatError::Limit { what: "bytes of a configuration", limit: MAX_BYTES as usize }.into());
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let options = Self { path: path.to_path_buf(), rows: Map::new() };
        let rows = serde_json::from_slice(&bytes).map_err(|error| options.wrong(format!("is not JSON ({error})")))?;
        let Value::Object(rows) = rows else { return Err(options.wrong("is not an object")) };
        let rows = rows.into_iter().filter(|(key, value)| !key.starts_with('_') && !value.is_null()).collect();
        Ok(Self { rows, ..options })
    }

    /// An error about this file.
    pub fn wrong(&self, problem: impl Into<String>) -> Error {
        FormatError::Folder { path: self.path.clone(), problem: problem.into() }.into()
    }

    /// An option's value, if it is given.
    pub fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(value) = self.rows.remove(key) else { return Ok(None) };
        let read = serde_json::from_value(value.clone());
        read.map(Some).map_err(|_| self.wrong(format!("{key}: {value} is not supported")))
    }

    /// An option's value, or the default.
    pub fn or<T: serde::de::DeserializeOwned>(&mut self, key: &str, default: T) -> Result<T> {
        Ok(self.take(key)?.unwrap_or(default))
    }

    /// An option that must be given.
    pub fn need<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<T> {
        self.take(key)?.ok_or_else(|| self.wrong(format!("has no {key}")))
    }

    /// An option that is one number for all levels, or one for each.
    pub fn per_level(&mut self, key: &str, default: usize, levels: usize) -> Result<Vec<usize>> {
        let list = match self.rows.get(key) {
            Some(Value::Array(_)) => self.need(key)?,
            _ => vec![self.or(key, default)?; levels],
        };
        if list.len() == levels { Ok(list) } else { Err(self.wrong(format!("{key}: must have {levels} entries"))) }
    }

    /// Options that, where they are given, must have these values.
    pub fn fixed(&mut self, rows: &[(&str, Value)]) -> Result<()> {
        for (key, only) in rows {
            let equal = |value: &Value| value == only || (value.is_number() && value.as_f64() == only.as_f64());
            if let Some(value) = self.rows.remove(*key).filter(|value| !equal(value)) {
                return Err(self.wrong(format!("{key}: {value} is not supported, only {only}")));
            }
        }
        Ok(())
    }

    /// Options that change nothing here.
    pub fn ignore(&mut self, keys: &[&str]) {
        for key in keys {
            self.rows.remove(*key);
        }
    }

    /// Refuses what was not read, unless it is switched off.
    pub fn done(self) -> Result<()> {
        match self.rows.iter().find(|(_, value)| **value != Value::Bool(false)) {
            Some((key, value)) => Err(self.wrong(format!("{key}: {value} is an option that is not supported"))),
            None => Ok(()),
        }
    }
}
