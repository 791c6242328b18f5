//! `prior.toml`: what the files of a checkpoint do not tell.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use vipaint_core::prior::Head;

use crate::presets::Preset;
use crate::{Error, Result};

/// What is said about a checkpoint beside it. What is absent is taken from tensors and presets.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Stated {
    /// The known prior that it is, or is most like.
    preset: Option<String>,
    /// What it is called.
    name: Option<String>,
    /// What the network predicts.
    head: Option<Head>,
    /// As in [`crate::Header`].
    schedule: Option<Value>,
    /// As in [`crate::Header`], instead of a head.
    parameterization: Option<Value>,
    /// Hyperparameters of the network.
    network: Map<String, Value>,
    /// Hyperparameters of the autoencoder.
    autoencoder: Map<String, Value>,
    /// Names of the classes.
    classes: Option<Classes>,
    /// Standard deviation of the data.
    data_std: Option<f64>,
    /// Range of picture values.
    value_range: Option<(f64, f64)>,
}

/// Names of classes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Classes {
    /// The names themselves.
    Names(Vec<String>),
    /// A text file in the same folder, with a name on each line.
    File(String),
}

const FILE: &str = "prior.toml";

impl Stated {
    /// Reads the `prior.toml` of a folder, if there is one.
    pub fn beside(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(Self::default());
        }
        let failed = |error: toml::de::Error| Error::Stated(format!("{}: {}", path.display(), error.message()));
        let mut stated: Self = toml::from_str(&text(&path)?).map_err(failed)?;
        if let Some(Classes::File(name)) = &stated.classes {
            stated.classes = Some(Classes::Names(text(&folder.join(name))?.lines().map(str::to_owned).collect()));
        }
        Ok(stated)
    }

    /// The preset that is named, if one is.
    pub fn preset(&self) -> Result<Option<&'static Preset>> {
        let Some(name) = &self.preset else { return Ok(None) };
        let preset = Preset::named(name);
        preset.map(Some).ok_or_else(|| Error::Stated(format!("{FILE}: there is no preset {name:?}")))
    }

    /// The stated fields of a [`crate::Header`].
    pub fn fields(&self) -> Value {
        let names = match &self.classes {
            Some(Classes::Names(names)) => Some(names),
            _ => None,
        };
        let head = self.head.map(|head| json!({ "kind": "head", "head": head }));
        let rows = [
            ("name", json!(self.name)),
            ("schedule", json!(self.schedule)),
            ("parameterization", json!(self.parameterization.clone().or(head))),
            ("classes", json!(names)),
            ("data_std", json!(self.data_std)),
            ("value_range", json!(self.value_range)),
        ];
        let mut fields: Map<String, Value> = rows
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.to_owned(), value))
            .collect();
        for (key, rows) in [("network", &self.network), ("autoencoder", &self.autoencoder)] {
            if !rows.is_empty() {
                fields.insert(key.to_owned(), Value::Object(rows.clone()));
            }
        }
        Value::Object(fields)
    }
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.to_path_buf(), source })
}
