//! From what tensors tell to a whole [`Header`]: what is stated comes before what they tell, and presets fill what is left.

use serde_json::{Map, Value, json};

use super::{Described, Opened};
use crate::presets::{PRESETS, Preset, class_names};
use crate::{Error, Family, HEADER_FORMAT, Header, Result};

/// The description of a prior, and the presets that filled it.
pub(super) fn complete(
    opened: &Opened,
    described: &Described<'_>,
    stated: Option<&'static Preset>,
) -> Result<(Header, Vec<&'static Preset>)> {
    let mut fields = described.known.clone();
    overlay(&mut fields, opened.stated.fields());
    let presets: Vec<&Preset> = match stated.map_or_else(|| opened.stated.preset(), |preset| Ok(Some(preset)))? {
        Some(preset) => vec![preset],
        None => PRESETS.iter().filter(|preset| fits(preset, described)).collect(),
    };
    fill(&mut fields, described, &presets)?;
    defaults(&mut fields, opened, &presets)?;
    Ok((Header::from_json(&fields.to_string())?, presets))
}

/// Whether the tensors are exactly those of a preset.
fn fits(preset: &Preset, described: &Described<'_>) -> bool {
    let header = preset.header();
    let (network, known) = (json!(header.network), &described.known["network"]);
    // Numbers are compared first, since an inventory takes long.
    let same = |(key, value): (&String, &Value)| match (value.as_f64(), network[key].as_f64()) {
        (Some(known), Some(preset)) => known == preset,
        _ => key != "family" || *value == network[key],
    };
    known.as_object().is_some_and(|known| known.iter().all(same))
        && header.inventory().is_ok_and(|needed| described.table.compare(&needed, described.allowed).is_empty())
}

/// Fills each open group of fields, if none of it is known, with what the presets agree on.
fn fill(fields: &mut Value, described: &Described<'_>, presets: &[&Preset]) -> Result<()> {
    let known: Vec<Value> = presets.iter().map(|preset| json!(preset.header())).collect();
    let (mut unknown, mut disputed) = (Vec::new(), Vec::new());
    for group in &described.open {
        if group.iter().any(|path| fields.pointer(path).is_some_and(|value| !value.is_null())) {
            continue;
        }
        let answer = |header: &Value| -> Vec<Value> {
            group.iter().map(|path| header.pointer(path).cloned().unwrap_or_default()).collect()
        };
        let mut answers = known.iter().map(answer).filter(|values| values.iter().any(|value| !value.is_null()));
        match answers.next() {
            None => unknown.push(called(group)),
            Some(first) if answers.any(|other| other != first) => disputed.push(called(group)),
            Some(first) => {
                for (path, value) in group.iter().zip(first) {
                    set(fields, path, value);
                }
            }
        }
    }
    if !unknown.is_empty() {
        return Err(Error::Untold(unknown));
    }
    if !disputed.is_empty() {
        let names = presets.iter().map(|preset| preset.name.to_owned()).collect();
        return Err(Error::Ambiguous { presets: names, fields: disputed });
    }
    Ok(())
}

/// A group of fields in words: `network.num_heads or network.num_head_channels`.
fn called(group: &[&str]) -> String {
    let names: Vec<String> = group.iter().map(|path| path[1..].replace('/', ".")).collect();
    names.join(" or ")
}

fn defaults(fields: &mut Value, opened: &Opened, presets: &[&Preset]) -> Result<()> {
    let network: Family = serde_json::from_value(fields["network"].clone())
        .map_err(|error| Error::Stated(format!("network: {error}")))?;
    let name = match presets {
        [preset] => preset.name.to_owned(),
        _ => opened.stem(),
    };
    let latent = fields.get("autoencoder").is_some_and(|config| !config.is_null());
    let rows = [
        ("format", json!(HEADER_FORMAT)),
        ("name", json!(name)),
        ("classes", json!(class_names(network.classes()))),
        ("data_std", json!(if latent { 1.0 } else { crate::presets::PIXEL_STD })),
        ("value_range", json!((-1.0, 1.0))),
    ];
    for (key, value) in rows {
        if fields.get(key).is_none_or(Value::is_null) {
            fields[key] = value;
        }
    }
    Ok(())
}

/// Fields whose parts have no meaning one by one.
const WHOLE: [&str; 2] = ["schedule", "parameterization"];

fn overlay(fields: &mut Value, stated: Value) {
    let (Value::Object(fields), Value::Object(stated)) = (fields, stated) else { return };
    for (key, value) in stated {
        match fields.get_mut(&key) {
            Some(inner @ Value::Object(_)) if value.is_object() && !WHOLE.contains(&key.as_str()) => {
                overlay(inner, value);
            }
            _ => {
                fields.insert(key, value);
            }
        }
    }
}

/// Sets the field at a JSON pointer, making the objects on the way.
fn set(fields: &mut Value, path: &str, value: Value) {
    let mut at = fields;
    for key in path.split('/').skip(1) {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[key];
    }
    *at = value;
}
