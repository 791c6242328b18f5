//! The tiny folders of `scripts/fixtures/stable_diffusion.py`, with their weights.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use vipaint_zoo::{RandomWeights, Source};

/// Where the folders are, without weights.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/tests/stable_diffusion").join(name)
}

/// Copies a folder and adds the weights that its `tensors.json` names.
pub fn write(name: &str, to: &Path) {
    let from = fixture(name);
    copy(&from, to);
    let rows = std::fs::read_to_string(from.join("tensors.json")).unwrap();
    let files: BTreeMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(&rows).unwrap();
    for (file, shapes) in files {
        let part = file.split_once('/').unwrap().0;
        let values =
            |name: &str, shape: &[usize]| RandomWeights::default().tensor(&format!("{part}.{name}"), shape).unwrap();
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
            .into_iter()
            .map(|(name, shape)| {
                let bytes = values(&name, &shape).iter().flat_map(|value| value.to_le_bytes()).collect();
                (name, shape, bytes)
            })
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        let file_bytes = safetensors::serialize(views, None::<HashMap<String, String>>).unwrap();
        std::fs::write(to.join(file), file_bytes).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}
