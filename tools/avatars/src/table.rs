//! The declared distribution, `priors/avatars/attributes.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Deserialize;

/// All attributes, each after its parent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// DiceBear's name of the style.
    pub style: String,
    /// The attributes.
    #[serde(rename = "attribute")]
    pub attributes: Vec<Attribute>,
}

/// One attribute with its conditional distribution.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// The attribute it depends on.
    pub parent: Option<String>,
    /// The attribute whose colour its phrases tell.
    pub colour: Option<String>,
    /// Phrases for all its values, with {of} for the value's word.
    #[serde(default)]
    pub phrases: Vec<String>,
    /// Rows of probabilities by the parent's value.
    pub p: BTreeMap<String, Vec<f64>>,
    /// What it can be.
    pub values: Vec<Value>,
}

/// One value of an attribute.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Value {
    /// Its name.
    pub name: String,
    /// DiceBear's options that make it.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// How it is told, after "with".
    #[serde(default)]
    pub phrases: Vec<String>,
    /// How it is told before the noun.
    #[serde(default)]
    pub adjectives: Vec<String>,
    /// How it is told inside another attribute's phrase.
    #[serde(default)]
    pub words: Vec<String>,
}

impl Table {
    /// Reads and checks a table.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let table: Self = toml::from_str(&text)?;
        for (i, attribute) in table.attributes.iter().enumerate() {
            let name = &attribute.name;
            let parent = attribute.parent.as_deref().map(|p| table.index(p)).transpose()?;
            ensure!(parent.is_none_or(|p| p < i), "{name}: its parent must come before it");
            ensure!(attribute.p.contains_key("any"), "{name}: needs a row `p.any`");
            for (given, row) in &attribute.p {
                let known = parent.is_some_and(|p| table.attributes[p].values.iter().any(|v| v.name == *given));
                ensure!(given == "any" || known, "{name}: p.{given} names no value of its parent");
                let sum: f64 = row.iter().sum();
                let right = row.len() == attribute.values.len() && row.iter().all(|p| *p >= 0.0);
                ensure!(right && (sum - 1.0).abs() < 1e-9, "{name}: p.{given} is no distribution over its values");
            }
        }
        Ok(table)
    }

    /// The position of an attribute.
    pub fn index(&self, name: &str) -> Result<usize> {
        self.attributes.iter().position(|a| a.name == name).with_context(|| format!("there is no attribute {name}"))
    }

    /// The value of every attribute of one portrait, as positions.
    pub fn draw(&self, rng: &mut ChaCha8Rng) -> Result<Vec<usize>> {
        let mut drawn: Vec<usize> = Vec::new();
        for attribute in &self.attributes {
            let given = match &attribute.parent {
                Some(parent) => {
                    let parent = self.index(parent)?;
                    self.attributes[parent].values[drawn[parent]].name.as_str()
                }
                None => "any",
            };
            let row = attribute.p.get(given).unwrap_or(&attribute.p["any"]);
            let mut u: f64 = rng.random();
            // Rounding may leave u above the sum; the last value that can be takes it.
            let last = row.iter().rposition(|p| *p > 0.0).unwrap_or(0);
            let value = row
                .iter()
                .position(|p| {
                    u -= p;
                    u < 0.0
                })
                .unwrap_or(last);
            drawn.push(value);
        }
        Ok(drawn)
    }
}
