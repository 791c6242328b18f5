//! diffusers' `UNet2DModel` (the `google/ddpm-*` checkpoints), in a pipeline's folder or in its own.

use std::path::Path;

use serde_json::{Value, json};

use super::opened::Part;
use super::{Described, Family, Group, Opened, Result, Table};
use crate::Family as Network;
use crate::diffusers::scheduler::Scheduler;
use crate::diffusers::unet2d::{Config, describe as header, todays_name};
use crate::formats::{Layout, read_json};

pub(super) const FAMILY: Family = Family {
    name: "UNet2DModel (diffusers)",
    is: |opened| part(opened).is_some_and(|part| part.layout() == Some(Layout::DiffusersUnet)),
    describe,
};

/// What only the files beside the weights tell, or a preset: the network, which is known as a whole, and the schedule.
const UNTOLD: &[Group] = &[
    &[
        "/network/sample_size",
        "/network/in_channels",
        "/network/out_channels",
        "/network/flip_sin_to_cos",
        "/network/freq_shift",
        "/network/down_block_types",
        "/network/up_block_types",
        "/network/block_out_channels",
        "/network/downsample_padding",
        "/network/attention_head_dim",
        "/network/norm_eps",
    ],
    &["/schedule"],
    &["/parameterization"],
];

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
    let config = config.map(|config| Config::from_json(&config)).transpose()?;
    let places = ["scheduler/scheduler_config.json", "scheduler_config.json", "../scheduler/scheduler_config.json"];
    let scheduler = first(folder, &places)?.map(|scheduler| Scheduler::from_json(&scheduler)).transpose()?;
    let (known, open): (Value, &[Group]) = match (config, scheduler) {
        (Some(config), Some(scheduler)) => (json!(header(opened.stem(), config, scheduler)), &[]),
        (Some(config), None) => (json!({ "network": Network::Unet2d(config) }), &UNTOLD[1..]),
        (None, _) => (json!({ "network": { "family": "unet2d" } }), UNTOLD),
    };
    Ok(Described { table, known, open: open.to_vec(), allowed: |_| false, notes: Vec::new() })
}

/// The first of these files that is there.
fn first(folder: &Path, names: &[&str]) -> Result<Option<Value>> {
    let found = names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    Ok(found.map(|path| read_json(&path)).transpose()?)
}
