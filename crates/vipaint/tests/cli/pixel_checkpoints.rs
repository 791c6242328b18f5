//! Pixel-space checkpoints of other programs: a tiny EDM network as its converter writes it, and a tiny diffusers pipeline
//! (scripts/fixtures/edm.py and unet2d.py).

use std::path::{Path, PathBuf};

use image::RgbImage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::setup::{QUICK, Setup, half, ok};

fn fixture(name: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../zoo/tests").join(name);
    path.to_str().unwrap().to_owned()
}

/// Completes a picture under a prior; known pixels are the picture's own, and the hole is filled.
fn inpaint(prior: &str, side: u32, more: &[&str]) {
    let setup = Setup::new();
    let picture = RgbImage::from_fn(side, side, |x, y| image::Rgb([(x * 15) as u8, (y * 11) as u8, 128]));
    setup.save("picture.png", &picture.clone().into());
    setup.save("mask.png", &half(side, side));
    let arguments = ["inpaint", "picture.png", "--mask", "mask.png", "-n", "2", "-o", "out", "--prior", prior];
    ok(&setup.run(&[&arguments[..], more, &QUICK].concat()));
    let samples =
        ["out/sample-000.png", "out/sample-001.png"].map(|name| image::open(setup.path(name)).unwrap().to_rgb8());
    for sample in &samples {
        let known = |x: u32| x < side / 2;
        assert!(picture.enumerate_pixels().all(|(x, y, pixel)| !known(x) || sample.get_pixel(x, y) == pixel));
    }
    assert_ne!(samples[0], samples[1]);
}

fn info(prior: &str) -> serde_json::Value {
    let said = Setup::new().run(&["prior", "info", prior, "--json"]);
    ok(&said);
    serde_json::from_str(&said.stdout).unwrap()
}

#[test]
fn pictures_are_completed_under_a_converted_edm_network() {
    inpaint(&fixture("edm/tiny.safetensors"), 16, &["--class", "1"]);
}

#[test]
fn pictures_are_completed_under_a_diffusers_pipeline() {
    inpaint(&fixture("unet2d/tiny"), 8, &[]);
}

#[test]
fn a_class_that_edm_needs_is_asked_for() {
    let setup = Setup::new();
    setup.save("picture.png", &RgbImage::new(16, 16).into());
    setup.save("mask.png", &half(16, 16));
    let prior = fixture("edm/tiny.safetensors");
    let said = setup.run(&["inpaint", "picture.png", "--mask", "mask.png", "-o", "out", "--prior", &prior]);
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("needs a class"), "{}", said.stderr);
}

#[test]
fn both_are_described() {
    let edm = info(&fixture("edm/tiny.safetensors"));
    assert_eq!((&edm["family"], &edm["name"]), (&"EDM (NVIDIA)".into(), &"tiny".into()));
    assert_eq!(edm["network"]["model_type"], "SongUNet");
    assert_eq!(edm["schedule"]["sigma_max"], 80.0);
    let unet = info(&fixture("unet2d/tiny"));
    assert_eq!((&unet["family"], &unet["name"]), (&"UNet2DModel (diffusers)".into(), &"tiny".into()));
    assert_eq!(unet["network"]["block_out_channels"], serde_json::json!([4, 8]));
    assert_eq!(unet["schedule"]["betas"], "linear");
    // The file in the pipeline's subfolder is the same prior.
    let file = info(&fixture("unet2d/tiny/unet/diffusion_pytorch_model.safetensors"));
    assert_eq!((&file["network"], &file["schedule"]), (&unet["network"], &unet["schedule"]));
}

/// The largest difference of two tensors of files, relative to the largest value of the second.
fn distance(out: &[u8], name: &str, original: &[u8], what: &str) -> f32 {
    let read = |bytes: &[u8], name: &str| -> Vec<f32> {
        let file = SafeTensors::deserialize(bytes).unwrap();
        file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let (got, expected) = (read(out, name), read(original, what));
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    got.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// `prior check` gives what the original code gave on the same tensors.
fn check(prior: &str, calls: &str, level: (&str, &str), class: Option<i64>) {
    let setup = Setup::new();
    let calls = std::fs::read(fixture(calls)).unwrap();
    let file = SafeTensors::deserialize(&calls).unwrap();
    let classes: Vec<u8> = class.iter().flat_map(|class| [*class; 2]).flat_map(i64::to_le_bytes).collect();
    let mut views = vec![
        ("z_t", file.tensor("x").unwrap()),
        (level.1, file.tensor(level.0).unwrap()),
        ("v", file.tensor("v").unwrap()),
    ];
    if class.is_some() {
        views.push(("class", TensorView::new(Dtype::I64, vec![2], &classes).unwrap()));
    }
    setup.write("in.safetensors", &safetensors::serialize(views, None).unwrap());
    ok(&setup.run(&["prior", "check", prior, "--input", "in.safetensors", "--output", "out.safetensors"]));
    let out = setup.bytes("out.safetensors");
    for (name, original, most) in [("x0_hat", "denoised", 1e-4), ("vjp", "denoised_dx", 1e-3)] {
        let error = distance(&out, name, &calls, original);
        assert!(error <= most, "{prior}: {name} is off by {error}");
    }
}

#[test]
fn calls_are_those_of_the_original_code() {
    check(&fixture("edm/tiny.safetensors"), "edm/tiny-calls.safetensors", ("sigma", "sigma"), Some(1));
    check(&fixture("unet2d/tiny"), "unet2d/tiny-calls.safetensors", ("timesteps", "t"), None);
}
