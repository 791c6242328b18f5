//! Stable Diffusion 1, 2 and XL as a diffusers folder: configurations tell all, and tensors must be those of them.

use serde_json::json;

use super::{Described, Family, Opened, Part, Result, Table};
use crate::formats::FormatError;
use crate::stable_diffusion::{self, is_folder};
use crate::{Error, Parameterization};

pub(super) const FAMILY: Family = Family { name: "Stable Diffusion (diffusers)", is: is_folder, describe };

fn describe(opened: &Opened) -> Result<Described<'_>> {
    let told = stable_diffusion::describe(opened.path())?;
    let part = |name: &str| -> Result<&Part> {
        let missing = || FormatError::Folder { path: opened.path().join(name), problem: "has no weights file".into() };
        Ok(opened.part(name).ok_or_else(missing)?)
    };
    let [unet, vae] = [&part("unet")?.checkpoint, &part("vae")?.checkpoint];
    let old = vae.names().any(|name| name.ends_with(".query.weight"));
    let mut needed = told.unet.inventory()?.entries;
    needed.extend(told.autoencoder.inventory(told.unet.image_size)?.entries);
    let mut places = std::collections::BTreeMap::new();
    for entry in needed {
        let place = told.place(&entry.name, old).ok_or_else(|| Error::Structure(entry.name.clone()))?;
        places.insert(place, entry.name);
    }
    let mut table = Table::default();
    for (name, checkpoint) in [("unet", unet), ("vae", vae)] {
        for tensor in checkpoint.tensors() {
            let known = places.remove(&(name, tensor.name().to_owned()));
            table.insert(known.unwrap_or_else(|| format!("{name}/{}", tensor.name())), tensor);
        }
    }
    let parameterization = Parameterization::Head { head: told.head };
    let known = json!({
        "network": crate::Family::Openai(told.unet),
        "autoencoder": told.autoencoder,
        "schedule": told.schedule,
        "parameterization": parameterization,
    });
    Ok(Described { table, known, open: Vec::new(), allowed: |_| false, notes: Vec::new() })
}
