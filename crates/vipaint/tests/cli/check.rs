//! `vipaint prior`: lists, descriptions, and one denoiser call on given tensors.

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::setup::Setup;

const PIXELS: usize = 64;

fn wave(n: usize, frequency: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * frequency).sin()).collect()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A safetensors file: name, type, shape, bytes of each tensor.
fn file(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views =
        tensors.iter().map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

fn get(bytes: &[u8], name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let view = file.tensor(name).unwrap();
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Runs the check with these tensors.
fn check(setup: &Setup, tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)], more: &[&str]) -> Vec<u8> {
    setup.write("in.safetensors", &file(tensors));
    let arguments = ["prior", "check", "tiny.safetensors", "--input", "in.safetensors", "--output", "out.safetensors"];
    let said = setup.run(&[&arguments[..], more].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    setup.bytes("out.safetensors")
}

fn image<'a>(name: &'a str, values: &[f32]) -> (&'a str, Dtype, Vec<usize>, Vec<u8>) {
    (name, Dtype::F32, vec![values.len() / PIXELS, 1, 8, 8], floats(values))
}

#[test]
fn the_estimate_is_the_preconditioned_raw_output() {
    let setup = Setup::new();
    let z = wave(2 * PIXELS, 0.3);
    let sigma = [0.4f32, 7.0];
    let level = ("sigma", Dtype::F32, vec![2], floats(&sigma));
    let class = ("class", Dtype::I64, vec![2], [1i64, 0].iter().flat_map(|c| c.to_le_bytes()).collect());
    let out = check(&setup, &[image("z_t", &z), level, class.clone()], &[]);
    let (raw, x0_hat) = (get(&out, "raw"), get(&out, "x0_hat"));
    for i in 0..2 * PIXELS {
        let (s, d) = (sigma[i / PIXELS], 0.5f32);
        let total = s * s + d * d;
        let expected = d * d / total * z[i] + s * d / total.sqrt() * raw[i];
        assert!((x0_hat[i] - expected).abs() < 1e-4, "{} {expected}", x0_hat[i]);
    }
    // The same levels as the network's own time, ln(sigma) / 4.
    let time = ("t", Dtype::F32, vec![2], floats(&sigma.map(|s| s.ln() / 4.0)));
    let again = get(&check(&setup, &[image("z_t", &z), time, class], &[]), "x0_hat");
    assert!(x0_hat.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-4));
}

/// The embedded prior of portraits: its network's own output and time, an embedded text, its autoencoder.
#[test]
fn a_prior_that_reads_texts_is_checked_too() {
    let setup = Setup::new();
    let latent =
        |name: &'static str, frequency: f32| (name, Dtype::F32, vec![1, 4, 16, 16], floats(&wave(1024, frequency)));
    let run = |tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)], more: &[&str]| {
        setup.write("in.safetensors", &file(tensors));
        let arguments = ["prior", "check", "avatars", "--input", "in.safetensors", "--output", "out.safetensors"];
        setup.run(&[&arguments[..], more].concat())
    };
    let done = |tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)], more: &[&str]| {
        let said = run(tensors, more);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        setup.bytes("out.safetensors")
    };
    let (z, v, sigma) = (latent("z_t", 0.3), latent("v", 0.7), 0.8f32);
    let level = ("sigma", Dtype::F32, vec![1], floats(&[sigma]));
    let text = ("context", Dtype::F32, vec![1, 40, 96], floats(&wave(40 * 96, 0.2)));
    let out = done(&[z.clone(), level.clone(), text.clone(), v.clone()], &[]);
    let (raw, x0_hat) = (get(&out, "raw"), get(&out, "x0_hat"));
    assert_eq!(get(&out, "vjp").len(), 1024);
    let (total, values) = (sigma * sigma + 1.0, wave(1024, 0.3));
    let expected = |i: usize| values[i] / total + sigma / total.sqrt() * raw[i];
    assert!(x0_hat.iter().enumerate().all(|(i, x)| (x - expected(i)).abs() < 1e-4));
    let time = ("t", Dtype::F32, vec![1], floats(&[sigma.ln() / 4.0]));
    let again = get(&done(&[z.clone(), time, text], &[]), "x0_hat");
    assert!(x0_hat.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-4));
    // Without a text it reads the empty one.
    assert_ne!(get(&done(&[z.clone(), level.clone()], &[]), "x0_hat"), x0_hat);

    let picture = get(&done(&[latent("z", 0.3)], &["--decode"]), "x");
    let encoded = done(&[("x", Dtype::F32, vec![1, 3, 64, 64], floats(&picture))], &["--encode"]);
    assert_eq!((picture.len(), get(&encoded, "z").len()), (3 * 64 * 64, 1024));
    let said = run(&[z, level, ("context", Dtype::F32, vec![1, 4, 96], floats(&wave(4 * 96, 0.2)))], &[]);
    assert!(said.code == Some(3) && said.stderr.contains("reads texts of shape [40, 96]"), "{}", said.stderr);
}

#[test]
fn embedded_priors_are_measured_with_their_weights_and_with_random_ones() {
    let setup = Setup::new();
    for (prior, more) in [
        ("avatars", &[][..]),
        ("avatars", &["--decode"][..]),
        ("avatars", &["--random-weights", "--size", "8", "--batch", "2"][..]),
        ("fashion", &["--random-weights", "--size", "16"][..]),
    ] {
        let said = setup.run(&[&["prior", "bench", prior, "--rounds", "1", "--json"], more].concat());
        assert_eq!(said.code, Some(0), "{prior} {more:?}: {}", said.stderr);
        let figures: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
        for key in ["forward_ms", "forward_vjp_ms", "peak_bytes", "parameters"] {
            assert!(figures[key].as_f64() > Some(0.0), "{prior} {more:?}: {key} {figures}");
        }
        assert!(more.contains(&"--decode") || figures["multiply_adds"].as_u64() > Some(0), "{figures}");
    }
}

#[test]
fn the_gradient_agrees_with_a_difference() {
    let setup = Setup::new();
    let (z, v, direction) = (wave(PIXELS, 0.3), wave(PIXELS, 0.7), wave(PIXELS, 1.1));
    let level = ("sigma", Dtype::F32, vec![1], floats(&[0.8]));
    let vjp = get(&check(&setup, &[image("z_t", &z), level.clone(), image("v", &v)], &[]), "vjp");
    let step = 0.02f32;
    let at = |sign: f32| -> f64 {
        let moved: Vec<f32> = z.iter().zip(&direction).map(|(z, d)| z + sign * step * d).collect();
        let x0_hat = get(&check(&setup, &[image("z_t", &moved), level.clone()], &[]), "x0_hat");
        x0_hat.iter().zip(&v).map(|(x, v)| f64::from(x * v)).sum()
    };
    let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
    let gradient: f64 = vjp.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
    assert!((difference - gradient).abs() < 0.01 * gradient.abs().max(1.0), "{difference} {gradient}");
}

#[test]
fn a_pixel_prior_decodes_and_encodes_to_the_same() {
    let setup = Setup::new();
    let (values, v) = (wave(PIXELS, 0.3), wave(PIXELS, 0.9));
    let out = check(&setup, &[image("z", &values), image("v", &v)], &["--decode"]);
    assert_eq!((get(&out, "x"), get(&out, "vjp")), (values.clone(), v));
    assert_eq!(get(&check(&setup, &[image("x", &values)], &["--encode"]), "z"), values);
}

#[test]
fn wrong_tensors_are_named() {
    let setup = Setup::new();
    let z = image("z_t", &[0.0; PIXELS]);
    let sigma = |value: f32| ("sigma", Dtype::F32, vec![1], floats(&[value]));
    let class = |class: i64| ("class", Dtype::I64, vec![1], class.to_le_bytes().to_vec());
    let cases = [
        (vec![sigma(1.0)], "has no tensor z_t"),
        (vec![z.clone()], "either sigma or t"),
        (vec![z.clone(), sigma(-1.0)], "sigma -1"),
        (vec![z.clone(), sigma(1.0), class(2)], "has class 2"),
        (vec![z.clone(), sigma(1.0), image("v", &[0.0; 2 * PIXELS])], "has v of shape"),
        (vec![("z_t", Dtype::F32, vec![1, 8, 8], floats(&[0.0; PIXELS])), sigma(1.0)], "not [B, 1, 8, 8]"),
        (vec![("z_t", Dtype::I32, vec![1, 1, 8, 8], floats(&[0.0; PIXELS])), sigma(1.0)], "not F32"),
    ];
    for (tensors, part) in cases {
        setup.write("in.safetensors", &file(&tensors));
        let arguments =
            ["prior", "check", "tiny.safetensors", "--input", "in.safetensors", "--output", "out.safetensors"];
        let said = setup.run(&arguments);
        assert_eq!(said.code, Some(3));
        assert!(said.stderr.contains("in.safetensors") && said.stderr.contains(part), "{part}: {}", said.stderr);
    }
    assert!(!setup.path("out.safetensors").exists());
}

#[test]
fn priors_are_listed_and_described() {
    let setup = Setup::new();
    let said = setup.run(&["prior", "list"]);
    assert!(said.code == Some(0) && said.stdout.contains("fashion"), "{}", said.stderr);
    let said = setup.run(&["prior", "info", "tiny.safetensors", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(info["name"], "tiny");
    assert_eq!(info["classes"], serde_json::json!(["cat", "dog"]));
    assert!(info["parameters"].as_u64() > Some(100));
}

#[test]
fn what_may_be_held_is_heeded_or_refused_as_an_option() {
    let setup = Setup::new();
    let run = |arguments: &[&str]| setup.run(&[&["prior"], arguments].concat());
    let size = ["--random-weights", "--size", "8", "--rounds", "1", "--json"];
    let measured = run(&[&["bench", "ddpm-cifar10-32", "--memory", "1"], &size[..]].concat());
    let figures: serde_json::Value = serde_json::from_str(&measured.stdout).unwrap();
    // A hair more is enough, a hair less is not, and twice as many samples need twice as much.
    let gib = |factor: f64| (factor * figures["held_bytes"].as_f64().unwrap() / f64::from(1 << 30)).to_string();
    for (factor, batch, code) in [(1.001, "1", 0), (0.999, "1", 4), (1.999, "2", 4)] {
        let (gib, batched) = (gib(factor), ["bench", "ddpm-cifar10-32", "--batch", batch, "--memory"]);
        let said = run(&[&batched[..], &[gib.as_str()], &size[..]].concat());
        assert_eq!(said.code, Some(code), "{}", said.stderr);
        assert!(code == 0 || said.stderr.contains("not enough for a call with its gradient"), "{}", said.stderr);
    }
    for prior in [&["avatars"][..], &["avatars", "--decode"], &["fashion"]] {
        let said = run(&[&["bench"], prior, &["--rounds", "1", "--memory", "0.00001"]].concat());
        assert!(said.code == Some(4) && said.stderr.contains("--memory"), "{prior:?}: {}", said.stderr);
    }
    let check = ["check", "fashion", "--input", "in.safetensors", "--output", "out.safetensors"];
    for command in [&["list"][..], &["info", "fashion"], &["pull", "hf:a/b"], &check] {
        let said = run(&[command, &["--memory", "1"]].concat());
        assert!(said.code == Some(2) && said.stderr.contains("--memory"), "{command:?}: {}", said.stderr);
    }
}

/// Half as many bytes of weights, 143 MB of them in single precision, beside which little else counts; processors without tile registers
/// hold several forms of them.
#[test]
fn weights_in_half_precision_take_half_the_memory() {
    let setup = Setup::new();
    let bench = |more: &[&str]| -> serde_json::Value {
        let arguments =
            ["prior", "bench", "ddpm-cifar10-32", "--random-weights", "--size", "8", "--rounds", "1", "--json"];
        let said = setup.run(&[&arguments[..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        serde_json::from_str(&said.stdout).unwrap()
    };
    let (single, half) = (bench(&[]), bench(&["--half-weights"]));
    let megabytes = |figures: &serde_json::Value, key: &str| figures[key].as_f64().unwrap() / 1e6;
    let saved = megabytes(&single, "peak_bytes") - megabytes(&half, "peak_bytes");
    let held = single["parameters"].as_f64().unwrap() * 2.0 / 1e6;
    assert!(saved > 0.9 * held, "saved {saved} MB of {held}");
    assert!(megabytes(&half, "peak_bytes") < 0.6 * megabytes(&single, "peak_bytes"), "{half} {single}");
    for figures in [&single, &half] {
        let ratio = megabytes(figures, "estimate_bytes") / megabytes(figures, "peak_bytes");
        assert!((ratio - 1.0).abs() < 0.25, "{ratio}: {figures}");
    }
}

#[test]
fn wrong_names_and_options_are_answered_with_what_is_meant() {
    let setup = Setup::new();
    let cases: [(&[&str], &[&str]); 9] = [
        (&["info", "lost/model.ckpt"], &["there is no file or folder \"lost/model.ckpt\"", "check the path"]),
        (&["info", "lost.safetensors,weights=f16"], &["there is no file or folder \"lost.safetensors\""]),
        (&["info", "fashion,weights=f16"], &["fashion takes nothing after its name"]),
        (&["info", "sd-1.5,weights=f16"], &["sd-1.5 is a kind of checkpoint"]),
        (&["bench", "sd-1.6", "--random-weights"], &["there is no architecture", "did you mean \"sd-1.5\""]),
        (&["bench", "ldm-cin256", "--random-weights", "--size", "7"], &["--size:", "side of 7", "multiple"]),
        (&["bench", "fashion", "--half-weights"], &["--half-weights", "FILE,weights=f16"]),
        (&["bench", "avatars", "--random-weights", "--half-weights"], &["--half-weights", "single precision"]),
        (&["pull", "fashion"], &["fashion is here already"]),
    ];
    for (arguments, parts) in cases {
        let said = setup.run(&[&["prior"], arguments].concat());
        assert_eq!(said.code, Some(2), "{arguments:?}: {}", said.stderr);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{arguments:?}: {}", said.stderr);
    }
}
