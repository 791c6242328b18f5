//! EDM's networks (Karras et al., 2022), in files by `scripts/edm_to_safetensors.py`, which say themselves what they hold.

use serde_json::json;

use super::{Described, Family, Group, Opened, Result, Table};
use crate::edm::{METADATA_KEY, header};
use crate::formats::Layout;

pub(super) const FAMILY: Family =
    Family { name: "EDM (NVIDIA)", is: |opened| opened.layout() == Some(Layout::Edm), describe };

/// What a file without the script's metadata does not tell: everything.
const UNTOLD: &[Group] = &[
    &["/network/model_type"],
    &["/network/img_resolution"],
    &["/network/img_channels"],
    &["/network/out_channels"],
    &["/network/label_dim"],
    &["/network/augment_dim"],
    &["/network/model_channels"],
    &["/network/channel_mult"],
    &["/network/channel_mult_emb"],
    &["/network/num_blocks"],
    &["/network/attn_resolutions"],
    &["/network/label_dropout"],
    &["/network/embedding_type"],
    &["/network/channel_mult_noise"],
    &["/network/encoder_type"],
    &["/network/decoder_type"],
    &["/network/resample_filter"],
    &["/schedule"],
    &["/parameterization"],
];

/// Where preconditionings keep their network.
const MODEL: &str = "model.";

fn describe(opened: &Opened) -> Result<Described<'_>> {
    let (mut table, mut metadata) = (Table::default(), None);
    if let Some(part) = opened.whole() {
        metadata = part.checkpoint.metadata().get(METADATA_KEY);
        let whole = part.checkpoint.names().any(|name| name.starts_with(MODEL));
        for tensor in part.checkpoint.tensors() {
            let name = tensor.name();
            table.insert(if whole { name.to_owned() } else { format!("{MODEL}{name}") }, tensor);
        }
    }
    let (known, open) = match metadata {
        Some(json) => (json!(header(&opened.stem(), json)?), Vec::new()),
        None => (json!({ "network": { "family": "edm" } }), UNTOLD.to_vec()),
    };
    Ok(Described { table, known, open, allowed: |_| false, notes: Vec::new() })
}
