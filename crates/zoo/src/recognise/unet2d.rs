//! diffusers' `UNet2DModel` (the `google/ddpm-*` checkpoints), in a pipeline's folder or in its own.

use std::path::Path;

use serde_json::{Value, json};

use super::opened::Part;
use super::{Described, Family, Opened, Result, Table};
use crate::diffusers::scheduler::Scheduler;
use crate::diffusers::unet2d::{Config, describe as header, todays_name};
use crate::formats::{Layout, read_json};
use crate::{Error, Family as Network};

pub(super) const FAMILY: Family = Family {
    name: "UNet2DModel (diffusers)",
    is: |opened| part(opened).is_some_and(|part| part.layout() == Some(Layout::DiffusersUnet)),
    describe,
};

/// The only model: beside an autoencoder, say, it would make latents.
fn part(opened: &Opened) -> Option<&Part> {
    let [name] = opened.parts().collect::<Vec<_>>()[..] else { return None };
    opened.part(name)
}

fn describe(opened: &Opened) -> Result<Described<'_>> {
    let mut table = Table::default();
    for tensor in part(opened).into_iter().flat_map(|part| part.checkpoint.tensors()) {
        table.insert(todays_name(tensor.name()), tensor);
    }
    let folder = if opened.path().is_dir() { opened.path() } else { opened.path().parent().unwrap_or(Path::new("")) };
    let config = first(folder, &["unet/config.json", "config.json"])?;
    let config =
        config.ok_or_else(|| Error::Stated("there is no config.json beside the weights of UNet2DModel".into()))?;
    let config = Config::from_json(&config)?;
    let places = ["scheduler/scheduler_config.json", "scheduler_config.json", "../scheduler/scheduler_config.json"];
    Ok(match first(folder, &places)? {
        Some(scheduler) => {
            let known = json!(header(opened.stem(), config, Scheduler::from_json(&scheduler)?));
            Described { table, known, open: Vec::new(), allowed: |_| false, notes: Vec::new() }
        }
        None => {
            let known = json!({ "network": Network::Unet2d(config) });
            Described {
                table,
                known,
                open: vec![&["/schedule"], &["/parameterization"]],
                allowed: |_| false,
                notes: Vec::new(),
            }
        }
    })
}

/// The first of these files that is there.
fn first(folder: &Path, names: &[&str]) -> Result<Option<Value>> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    Ok(found.map(|path| read_json(&path)).transpose()?)
}
