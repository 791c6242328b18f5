//! `vipaint train`: a tiny run to the end, and recipes that are wrong.

use image::{GrayImage, Luma};

use crate::setup::Setup;

const RECIPE: &str = r#"
name = "stripes"
seed = 0
images = 32
[data]
kind = "folder"
path = "data"
held_out = 2
[network]
family = "unet"
channels = 1
size = 8
patch = 2
widths = [8, 8]
blocks = [1, 1]
attention = [1]
head_width = 8
group_width = 4
embedding = 8
time_scale = 16.0
classes = 0
[objective]
kind = "edm"
sigma_data = 0.5
p_mean = -0.8
p_std = 1.2
sigma_min = 0.02
sigma_max = 40.0
rho = 7.0
[optimizer]
batch = 8
pieces = 1
lr = 1e-3
betas = [0.9, 0.99]
eps = 1e-8
weight_decay = 0.0
clip = 1.0
warmup = 8
decay = 0.4
ema_half_life = 20.0
ema_ramp = 0.1
class_dropout = 0.1
[output]
checkpoint_minutes = 3.0
sample_minutes = 10.0
samples = 2
held_out = 2
"#;

#[test]
fn a_trained_prior_can_be_used() {
    let setup = Setup::new();
    std::fs::create_dir_all(setup.path("data/all")).unwrap();
    for i in 0..6u32 {
        let stripes = GrayImage::from_fn(8, 8, |x, y| Luma([if (x + i * y) % 4 < 2 { 220 } else { 30 }]));
        setup.save(&format!("data/all/{i}.png"), &stripes.into());
    }
    setup.write("recipe.toml", RECIPE.as_bytes());
    let said = setup.run(&["train", "recipe.toml"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stdout.contains("runs/stripes/stripes.safetensors"), "{}", said.stdout);
    let arguments = ["inpaint", "picture.png", "--mask", "mask.png", "--prior", "runs/stripes/stripes.safetensors"];
    let said = setup.run(&[&arguments[..], &crate::setup::QUICK].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

#[test]
fn wrong_recipes_are_refused() {
    let setup = Setup::new();
    setup.write("unknown.toml", RECIPE.replace("clip", "klip").as_bytes());
    setup.write("no-data.toml", RECIPE.as_bytes());
    for (recipe, part) in [("missing.toml", "missing.toml"), ("unknown.toml", "klip"), ("no-data.toml", "data")] {
        let said = setup.run(&["train", recipe]);
        assert_eq!(said.code, Some(3), "{}", said.stderr);
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
}
