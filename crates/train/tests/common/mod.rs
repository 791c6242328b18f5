//! A tiny data set and a recipe over it.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::path::Path;

use vipaint_train::Recipe;

/// An IDX file.
pub fn idx(sizes: &[u32], bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    file.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
    file.extend(bytes);
    file
}

/// Writes 24 training and 10 held-out pictures of 6x6: class 0 is light on the left, class 1 at the top.
pub fn write_data(folder: &Path) {
    for (prefix, count) in [("train", 24u32), ("test", 10)] {
        let picture = |n: u32| {
            (0..36u32).map(move |i| {
                let bright = if n.is_multiple_of(2) { i % 6 < 3 } else { i / 6 < 3 };
                (if bright { 200 + n } else { n }) as u8
            })
        };
        let bytes: Vec<u8> = (0..count).flat_map(picture).collect();
        let labels: Vec<u8> = (0..count).map(|n| (n % 2) as u8).collect();
        std::fs::write(folder.join(format!("{prefix}-images")), idx(&[count, 6, 6], &bytes)).unwrap();
        std::fs::write(folder.join(format!("{prefix}-labels")), idx(&[count], &labels)).unwrap();
    }
}

/// A recipe over [`write_data`]'s files that takes a second.
pub fn text(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
name = "tiny"
seed = 3
images = 320

[data]
kind = "idx"
images = "{folder}/train-images"
labels = "{folder}/train-labels"
test_images = "{folder}/test-images"
test_labels = "{folder}/test-labels"
pad = 1
classes = ["left", "top"]

[network]
family = "unet"
channels = 1
size = 8
patch = 2
widths = [8, 16]
blocks = [1, 1]
attention = [1]
head_width = 8
group_width = 4
embedding = 16
time_scale = 16.0
classes = 2

[objective]
kind = "edm"
sigma_data = 0.8
p_mean = -0.8
p_std = 1.2
sigma_min = 0.02
sigma_max = 40.0
rho = 7.0

[optimizer]
batch = 8
pieces = 2
lr = 3e-3
betas = [0.9, 0.99]
eps = 1e-8
weight_decay = 0.01
clip = 1.0
warmup = 40
decay = 0.5
ema_half_life = 40.0
ema_ramp = 0.5
class_dropout = 0.2

[output]
checkpoint_minutes = 60.0
sample_minutes = 60.0
samples = 2
held_out = 6
"#
    )
}

/// The recipe, parsed.
pub fn recipe(folder: &Path) -> Recipe {
    Recipe::parse(&text(folder)).unwrap()
}
