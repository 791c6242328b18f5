//! Checkpoints of other programs: a tiny latent-diffusion model written by PyTorch (scripts/fixtures/tiny_latent_diffusion.py),
//! with averaged weights, in full and in half precision, as it is and as safetensors.

use std::path::{Path, PathBuf};

use image::RgbImage;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use vipaint_zoo::formats::Checkpoint;

use crate::setup::{QUICK, Setup, half, names, ok};

/// What no tensor tells.
const STATED: &str = "name = \"tiny-latent\"\nhead = \"eps\"\n[network]\nimage_size = 4\nnum_heads = 2\n";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/tiny-latent-diffusion").join(name)
}

/// A folder with the checkpoint in every form, and a picture.
pub fn setup() -> Setup {
    let setup = Setup::new();
    for name in ["model.ckpt", "half.ckpt"] {
        std::fs::copy(fixture(name), setup.path(name)).unwrap();
    }
    setup.write("full.safetensors", &converted("model.ckpt", Dtype::F32));
    setup.write("half.safetensors", &converted("half.ckpt", Dtype::F16));
    setup.write("prior.toml", STATED.as_bytes());
    let picture = RgbImage::from_fn(16, 16, |x, y| image::Rgb([(x * 15) as u8, (y * 11) as u8, 128]));
    setup.save("picture.png", &picture.into());
    setup.save("mask.png", &half(16, 16));
    setup
}

const FORMS: [&str; 4] = ["model.ckpt", "half.ckpt", "full.safetensors", "half.safetensors"];

/// The same tensors as a safetensors file.
fn converted(name: &str, dtype: Dtype) -> Vec<u8> {
    changed(name, dtype, |_, _, value| value)
}

/// The name and the shape of a tensor.
type Of<'a> = (&'a str, &'a [usize]);

/// The same, each value made of its tensor's name and shape, and of its place and what it was.
fn changed(name: &str, dtype: Dtype, value: impl Fn(Of<'_>, usize, f32) -> f32) -> Vec<u8> {
    let file = Checkpoint::open(&fixture(name)).unwrap();
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .map(|tensor| {
            let of = (tensor.name(), tensor.shape());
            let values = tensor.to_f32().unwrap().into_iter().enumerate().map(|(i, x)| value(of, i, x));
            let bytes = match dtype {
                Dtype::F16 => values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
                _ => values.flat_map(f32::to_le_bytes).collect(),
            };
            (tensor.name().to_owned(), tensor.shape().to_vec(), bytes)
        })
        .collect();
    let views = tensors.iter().map(|(n, shape, bytes)| (n, TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn floats(bytes: &[u8], name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    file.tensor(name).unwrap().data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs `prior check` on tensors of the original's calls, renamed.
fn check(setup: &Setup, form: &str, inputs: &[(&str, &str)], more: &[&str]) -> Vec<u8> {
    let calls = std::fs::read(fixture("calls.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&calls).unwrap();
    let views = inputs.iter().map(|(from, to)| (*to, file.tensor(from).unwrap()));
    setup.write("in.safetensors", &safetensors::serialize(views, None).unwrap());
    let arguments = ["prior", "check", form, "--input", "in.safetensors", "--output", "out.safetensors"];
    ok(&setup.run(&[&arguments[..], more].concat()));
    setup.bytes("out.safetensors")
}

/// The largest difference, relative to the largest magnitude of the original's.
fn distance(out: &[u8], name: &str, original: &str) -> f32 {
    let calls = std::fs::read(fixture("calls.safetensors")).unwrap();
    let (got, expected) = (floats(out, name), floats(&calls, original));
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    got.iter().zip(&expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

#[test]
fn every_form_computes_what_pytorch_computes() {
    let setup = setup();
    for form in FORMS {
        let denoised = check(&setup, form, &[("z_t", "z_t"), ("t", "t"), ("class", "class"), ("v", "v")], &[]);
        let decoded = check(&setup, form, &[("z", "z"), ("decode_v", "v")], &["--decode"]);
        let encoded = check(&setup, form, &[("x", "x")], &["--encode"]);
        for (out, name, original, most) in [
            (&denoised, "raw", "raw", 1e-4),
            (&denoised, "x0_hat", "x0_hat", 1e-4),
            (&denoised, "vjp", "vjp", 1e-3),
            (&decoded, "x", "x", 1e-4),
            (&decoded, "vjp", "decode_vjp", 1e-3),
            // The scale factor is rounded with the rest in a file all in half precision, here by 2.8e-4.
            (&encoded, "z", "encoded", if form == "half.safetensors" { 3e-4 } else { 1e-4 }),
        ] {
            let error = distance(out, name, original);
            assert!(error <= most, "{form}: {original} is off by {error}");
        }
    }
}

/// Weights that half precision does not hold (the fixture's it does), and the same with matrices rounded to it. `weights=f16` must
/// compute as the rounded ones do, and so not as those of the file.
#[test]
fn weights_in_half_precision_are_the_rounded_ones() {
    fn fine(_: Of<'_>, i: usize, x: f32) -> f32 {
        x * (1.0 + 4e-4 * (i as f32).sin())
    }
    fn rounded((name, shape): Of<'_>, i: usize, x: f32) -> f32 {
        let (x, packed) = (fine((name, shape), i, x), shape.len() >= 2 && !name.ends_with("embedding.weight"));
        if packed { half::f16::from_f32(x).to_f32() } else { x }
    }

    let setup = setup();
    setup.write("fine.safetensors", &changed("model.ckpt", Dtype::F32, fine));
    setup.write("rounded.safetensors", &changed("model.ckpt", Dtype::F32, rounded));
    let results = |form: &str| -> Vec<Vec<f32>> {
        let denoised = check(&setup, form, &[("z_t", "z_t"), ("t", "t"), ("class", "class"), ("v", "v")], &[]);
        let decoded = check(&setup, form, &[("z", "z"), ("decode_v", "v")], &["--decode"]);
        let encoded = check(&setup, form, &[("x", "x")], &["--encode"]);
        let all = [(&denoised, "raw"), (&denoised, "vjp"), (&decoded, "x"), (&decoded, "vjp"), (&encoded, "z")];
        all.map(|(out, name)| floats(out, name)).to_vec()
    };
    let [fine, rounded, half] =
        ["fine.safetensors", "rounded.safetensors", "fine.safetensors,weights=f16"].map(results);
    for (i, half) in half.iter().enumerate() {
        let (by, both, from_rounded) = (off(&rounded[i], &fine[i]), off(half, &fine[i]), off(half, &rounded[i]));
        println!("result {i}: rounding changes {by:.1e}, weights=f16 {both:.1e}; they differ by {from_rounded:.1e}");
        assert!(by > 1e-4 && by < 1e-2, "result {i}: {by}");
        assert!((both / by - 1.0).abs() < 0.1, "result {i}: {both} instead of {by}");
        // On tile registers weights are of 16 bits before they are of 11, so that one in 64, near the middle of two values, goes the
        // other way: a root mean square of 1/8 of their distance, where rounding has 1/sqrt(12). Without them it is 1e-6.
        assert!(from_rounded < 0.45 * by, "result {i}: {from_rounded}");
    }
}

/// Relative, in the root mean square.
fn off(got: &[f32], expected: &[f32]) -> f32 {
    let size = expected.iter().map(|x| x * x).sum::<f32>();
    (got.iter().zip(expected).map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / size).sqrt()
}

#[test]
fn weights_in_half_precision_are_said_and_are_another_prior() {
    let setup = setup();
    let info = |prior: &str| -> serde_json::Value {
        let said = setup.run(&["prior", "info", prior, "--json"]);
        ok(&said);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let (single, half) = (info("model.ckpt"), info("model.ckpt,weights=f16"));
    assert_eq!((&single["weights"], &half["weights"]), (&"f32".into(), &"f16".into()));
    assert_eq!(half["hash"], format!("{}-f16", single["hash"].as_str().unwrap()));
    assert_eq!(single["held_bytes"], half["held_bytes"]);
    assert!(half["held_bytes"]["decoder"].as_u64() > Some(0) && half["held_bytes"]["denoiser"].as_u64() > Some(0));
    // Options come in any order; others are refused by name.
    assert_eq!(info("model.ckpt,weights=f16,preset=ldm-cin256"), info("model.ckpt,preset=ldm-cin256,weights=f16"));
    let said = setup.run(&["prior", "info", "model.ckpt,weights=f8"]);
    assert!(said.code == Some(2) && said.stderr.contains("\"weights=f8\""), "{}", said.stderr);

    let half = "model.ckpt,weights=f16";
    let fit = ["fit", "picture.png", "--mask", "mask.png", "--prior", half, "--posterior", "p.safetensors"];
    ok(&setup.run(&[&fit[..], &QUICK].concat()));
    let sample =
        |prior| setup.run(&["sample", "--posterior", "p.safetensors", "--prior", prior, "-n", "1", "-o", "out"]);
    ok(&sample(half));
    assert!(setup.json("out/report.json")["prior"]["hash"].as_str().unwrap().ends_with("-f16"));
    let said = sample("model.ckpt");
    assert_eq!(said.code, Some(3), "{}", said.stderr);
}

#[test]
fn pictures_are_completed_under_a_checkpoint() {
    let setup = setup();
    let inpaint = ["inpaint", "picture.png", "--mask", "mask.png", "-n", "2", "--class", "1"];
    for form in FORMS {
        ok(&setup.run(&[&inpaint[..], &["--prior", form, "-o", &format!("out-{form}")], &QUICK].concat()));
    }
    // Half precision holds these weights, so the pictures are the same.
    for form in ["half.ckpt", "full.safetensors"] {
        let sample = setup.bytes(&format!("out-{form}/sample-000.png"));
        assert_eq!(sample, setup.bytes("out-model.ckpt/sample-000.png"), "{form}");
    }
    let report = setup.json("out-model.ckpt/report.json");
    assert_eq!(report["prior"]["name"], "tiny-latent");
    // Known pixels are the picture's own.
    let open = |name: &str| image::open(setup.path(name)).unwrap().to_rgb8();
    let (picture, sample) = (open("picture.png"), open("out-model.ckpt/sample-001.png"));
    assert!((0..16).flat_map(|y| (0..8).map(move |x| (x, y))).all(|(x, y)| picture[(x, y)] == sample[(x, y)]));
    assert_eq!(names(&setup.path("out-model.ckpt"), "sample-").len(), 2);
}

/// With less memory the work is split, then features are computed again, and at last it is refused; pictures are the same.
#[test]
fn little_memory_changes_no_picture() {
    let setup = setup();
    let inpaint = ["inpaint", "picture.png", "--mask", "mask.png", "-n", "2", "--class", "1", "--prior", "model.ckpt"];
    let run = |more: &[&str]| setup.run(&[&inpaint[..], more, &QUICK].concat());
    ok(&run(&["-o", "all"]));
    let mut room = setup.json("all/report.json")["memory"]["features_bytes"].as_u64().unwrap() as f64;
    let (mut split, mut recomputed) = (false, false);
    loop {
        room *= 0.95;
        let gib = format!("{:.12}", room / f64::from(1 << 30));
        let said = run(&["-o", "less", "--memory", &gib]);
        if said.code == Some(4) {
            assert!(said.stderr.contains("not enough for"), "{}", said.stderr);
            break;
        }
        ok(&said);
        let memory = &setup.json("less/report.json")["memory"];
        assert!(memory["features_bytes"].as_f64().unwrap() <= room, "{memory} {room}");
        split |= memory["paths_together"].is_u64();
        recomputed |= memory["recomputed"] == true;
        assert!(said.stderr.contains("memory: about"), "{}", said.stderr);
        for name in ["sample-000.png", "sample-001.png"] {
            assert_eq!(setup.bytes(&format!("less/{name}")), setup.bytes(&format!("all/{name}")), "{memory}");
        }
    }
    assert!(split && recomputed);
    let said = run(&["-o", "none", "--memory", "-1"]);
    assert!(said.code == Some(2) && said.stderr.contains("--memory"), "{}", said.stderr);
}

#[test]
fn a_posterior_is_tied_to_its_checkpoint() {
    let setup = setup();
    let fit = ["fit", "picture.png", "--mask", "mask.png", "--prior", "model.ckpt", "--posterior", "p.safetensors"];
    ok(&setup.run(&[&fit[..], &QUICK].concat()));
    ok(&setup.run(&["sample", "--posterior", "p.safetensors", "--prior", "model.ckpt", "-n", "1", "-o", "out"]));
    let said = setup.run(&["sample", "--posterior", "p.safetensors", "--prior", "half.ckpt", "-n", "1", "-o", "out"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("tiny-latent"), "{}", said.stderr);
}

#[test]
fn a_checkpoint_is_described_without_loading_it() {
    let setup = setup();
    let said = setup.run(&["prior", "info", "model.ckpt", "--json"]);
    ok(&said);
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(info["family"], "latent diffusion (CompVis)");
    assert_eq!(info["averaged"], true);
    assert_eq!(info["shape"], serde_json::json!([3, 4, 4]));
    assert_eq!(info["pictures"], serde_json::json!([3, 16, 16]));
    assert_eq!(info["classes"].as_array().unwrap().len(), 3);
    assert!((info["autoencoder"]["scale_factor"].as_f64().unwrap() - 0.7).abs() < 1e-6);
    assert_eq!(info["schedule"]["alphas_cumprod"].as_array().unwrap().len(), 50);
}

#[test]
fn what_is_missing_is_said_with_the_remedy() {
    let setup = setup();
    std::fs::remove_file(setup.path("prior.toml")).unwrap();
    let said = setup.run(&["prior", "info", "model.ckpt"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    for part in ["model.ckpt", "network.image_size", "num_heads", "parameterization", ",preset=NAME", "prior.toml"] {
        assert!(said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    // A preset tells it; this one takes heads of 1 and 64 pixels.
    let said = setup.run(&["prior", "info", "model.ckpt,preset=ldm-cin256", "--json"]);
    ok(&said);
    assert!(said.stdout.contains("\"image_size\": 64"), "{}", said.stdout);
    let said = setup.run(&["prior", "info", "model.ckpt,preset=ldm-cin25"]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
    assert!(said.stderr.contains("did you mean \"ldm-cin256\""), "{}", said.stderr);
}
