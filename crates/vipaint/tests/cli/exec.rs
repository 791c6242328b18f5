//! An external program as the prior: a Gaussian of mean 0.25 and standard deviation 0.3 over 8x8 pictures in [0, 1].

use std::process::Command;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::setup::{QUICK, Setup};

/// The prior's name, or nothing where there is no Python.
fn program(mode: &str) -> Option<String> {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: there is no python3");
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../zoo/tests/exec/gaussian.py");
    Some(format!("exec:python3 '{script}' {mode}"))
}

const PICTURE: [&str; 6] = ["picture.png", "--mask", "mask.png", "-o", "out", "--prior"];

#[test]
fn pictures_are_completed_and_more_samples_drawn_later() {
    let Some(prior) = program("square") else { return };
    let setup = Setup::new();
    let inpaint = [&["inpaint"], &PICTURE[..], &[&prior, "-n", "8"], &QUICK].concat();
    let said = setup.run(&inpaint);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let first = setup.bytes("out/sample-000.png");
    let report = setup.json("out/report.json");
    assert_eq!(report["prior"]["name"], prior.as_str());
    // The hidden half does not depend on the known one: 256 values of mean 0.25, so of standard error 0.02.
    let mean = image::open(setup.path("out/mean.png")).unwrap().to_luma8();
    let hidden: Vec<f64> =
        (0..8).flat_map(|y| (4..8).map(move |x| (x, y))).map(|(x, y)| f64::from(mean[(x, y)][0])).collect();
    let mean = hidden.iter().sum::<f64>() / 255.0 / hidden.len() as f64;
    assert!((mean - 0.25).abs() < 0.1, "{mean}");

    let again = ["sample", "--posterior", "out/posterior.safetensors", "--prior", &prior, "-n", "8", "-o", "again"];
    let said = setup.run(&again);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(setup.bytes("again/sample-000.png"), first);
}

#[test]
fn the_stable_diffusion_3_release_is_a_preset_for_flow_matching() {
    let Some(prior) = program("square-flow") else { return };
    let setup = Setup::new();
    let sets = ["lpips=0", "iterations=3", "refine_steps=4", "prior_steps=2"].map(|set| ["--set", set]).concat();
    let inpaint = [&["inpaint"], &PICTURE[..], &[&prior, "-n", "2", "--preset", "published-sd3"], &sets[..]].concat();
    let said = setup.run(&inpaint);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let report = setup.json("out/report.json");
    assert!(report["bound"]["bounds"].as_str().unwrap().starts_with("nothing"), "{}", report["bound"]);
    assert_eq!(report["bound"]["totals"].as_array().unwrap().len(), 3);
    let first = setup.bytes("out/sample-001.png");
    let again = ["sample", "--posterior", "out/posterior.safetensors", "--prior", &prior, "-n", "2", "-o", "again"];
    let said = setup.run(&again);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(setup.bytes("again/sample-001.png"), first);
    // It is for nothing else.
    let other = program("square").unwrap();
    let said = setup.run(&[&["inpaint"], &PICTURE[..], &[&other, "--preset", "published-sd3"], &sets[..]].concat());
    assert!(said.code == Some(2) && said.stderr.contains("flow-matching"), "{:?} {}", said.code, said.stderr);
}

#[test]
fn it_is_described_and_checked() {
    let Some(prior) = program("square") else { return };
    let setup = Setup::new();
    let said = setup.run(&["prior", "info", &prior, "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(info["shape"], serde_json::json!([1, 8, 8]));

    let wave = |frequency: f32| (0..64).map(|i| (i as f32 * frequency).sin()).collect::<Vec<f32>>();
    let (z, v, sigma) = (wave(0.3), wave(0.7), 0.6f32);
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let (z_bytes, v_bytes, sigma_bytes) = (bytes(&z), bytes(&v), bytes(&[sigma]));
    let view = |shape: Vec<usize>, bytes| TensorView::new(Dtype::F32, shape, bytes).unwrap();
    let image = vec![1, 1, 8, 8];
    let input =
        [("z_t", view(image.clone(), &z_bytes)), ("v", view(image, &v_bytes)), ("sigma", view(vec![1], &sigma_bytes))];
    setup.write("in.safetensors", &safetensors::serialize(input, None).unwrap());
    let said = setup.run(&["prior", "check", &prior, "--input", "in.safetensors", "--output", "out.safetensors"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let out = setup.bytes("out.safetensors");
    let out = SafeTensors::deserialize(&out).unwrap();
    let get = |name: &str| -> Vec<f32> {
        let view = out.tensor(name).unwrap();
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let gain = 0.09 / (0.09 + sigma * sigma);
    let close = |got: Vec<f32>, expected: &dyn Fn(usize) -> f32| {
        assert!(got.iter().enumerate().all(|(i, got)| (got - expected(i)).abs() < 1e-5));
    };
    close(get("x0_hat"), &|i| 0.25 + gain * (z[i] - 0.25));
    close(get("vjp"), &|i| gain * v[i]);
}

#[test]
fn programs_that_fail_end_the_run_with_the_reason() {
    let Some(prior) = program("square-vjp-error") else { return };
    let setup = Setup::new();
    let said = setup.run(&[&["inpaint"], &PICTURE[..], &[&prior], &QUICK].concat());
    assert_eq!(said.code, Some(4), "{}", said.stderr);
    assert!(said.stderr.contains("no gradient today"), "{}", said.stderr);
    assert!(!setup.path("out/sample-000.png").exists());

    for (mode, part) in [("crash", "the reason of the crash"), ("print", "print to standard output")] {
        let said = setup.run(&[&["inpaint"], &PICTURE[..], &[&program(mode).unwrap()]].concat());
        assert_eq!(said.code, Some(3), "{}", said.stderr);
        assert!(said.stderr.contains(part), "{}", said.stderr);
    }
    let hang = program("hang pids").unwrap();
    let mut command = setup.command(&[&["inpaint"], &PICTURE[..], &[&hang]].concat());
    let output = command.env("VIPAINT_EXEC_TIMEOUT", "1.5").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(stderr.contains("did not answer `describe` within 1.5 s"), "{stderr}");
}

#[test]
fn checkpoints_of_other_programs_are_refused_by_what_they_are() {
    let setup = Setup::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../zoo/tests/checkpoints");
    for (file, part) in [("lightning.ckpt", "latent diffusion (CompVis): missing"), ("plain.pt", "of no known family")]
    {
        let said = setup.run(&[&["inpaint"], &PICTURE[..], &[&format!("{folder}/{file}")]].concat());
        assert_eq!(said.code, Some(3), "{}", said.stderr);
        assert!(said.stderr.contains(part) && said.stderr.contains("exec:COMMAND"), "{}", said.stderr);
    }
}
