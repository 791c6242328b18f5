//! The run's log, one JSON object a line.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, NoiseLevelError, Result};

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Record {
    /// Averages since the last such line.
    Step { images: u64, loss: f64, lr: f64, gradient_norm: f64, images_per_second: f64, seconds: f64 },
    /// Held-out errors of the averaged weights.
    HeldOut { images: u64, errors: Vec<NoiseLevelError> },
    /// Other held-out figures of the averaged weights.
    Figures { images: u64, figures: BTreeMap<String, f64> },
}

impl Record {
    fn images(&self) -> u64 {
        match self {
            Self::Step { images, .. } | Self::HeldOut { images, .. } | Self::Figures { images, .. } => *images,
        }
    }

    /// Held-out figures, each with what it is.
    pub(crate) fn figures(&self) -> Vec<(String, f64)> {
        match self {
            Self::Step { .. } => Vec::new(),
            Self::HeldOut { errors, .. } => {
                errors.iter().map(|e| (format!("error at sigma {}", e.sigma), e.mse)).collect()
            }
            Self::Figures { figures, .. } => figures.iter().map(|(name, value)| (name.clone(), *value)).collect(),
        }
    }
}

pub(crate) struct Log {
    path: PathBuf,
    pub records: Vec<Record>,
}

impl Log {
    /// Opens the log and drops lines from after the checkpoint, which are about to be written again.
    pub(crate) fn open(path: &Path, images: u64) -> Result<Self> {
        let text = if path.exists() { std::fs::read_to_string(path).map_err(Error::io(path))? } else { String::new() };
        let records: Vec<Record> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(|r: &Record| r.images() <= images)
            .collect();
        let kept: String = records.iter().map(line).collect();
        crate::checkpoint::write_atomically(path, kept.as_bytes())?;
        Ok(Self { path: path.to_path_buf(), records })
    }

    pub(crate) fn push(&mut self, record: Record) -> Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).map_err(Error::io(&self.path))?;
        file.write_all(line(&record).as_bytes()).map_err(Error::io(&self.path))?;
        self.records.push(record);
        Ok(())
    }
}

fn line(record: &Record) -> String {
    // Numbers and strings only, which JSON can hold.
    serde_json::to_string(record).unwrap_or_default() + "\n"
}
