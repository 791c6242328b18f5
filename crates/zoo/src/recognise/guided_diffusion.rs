//! OpenAI's guided diffusion (Dhariwal and Nichol, 2021) and what was trained with its code: a U-Net's tensors at the root.

use serde_json::json;

use super::{Described, Family, Opened, Result, Table, openai};
use crate::formats::Layout;

pub(super) const FAMILY: Family =
    Family { name: "guided diffusion (OpenAI)", is: |opened| opened.layout() == Some(Layout::OpenAi), describe };

fn describe(opened: &Opened) -> Result<Described<'_>> {
    let mut table = Table::default();
    for tensor in opened.whole().into_iter().flat_map(|part| part.checkpoint.tensors()) {
        table.insert(tensor.name(), tensor);
    }
    let network = openai::network(&table.below(""))?;
    let mut open = openai::OPEN.to_vec();
    open.extend([openai::ORDER, &["/schedule"], &["/parameterization"]]);
    Ok(Described { table, known: json!({ "network": network }), open, allowed: |_| false, notes: Vec::new() })
}
