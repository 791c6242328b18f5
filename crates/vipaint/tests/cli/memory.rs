//! The estimate of memory against the peak that the system measured, for whole runs (a fit and samples).

use crate::checkpoints;
use crate::setup::{Setup, ok};

/// Within a quarter; runs of a moment are not that of ours, so these make as many paths and samples as a user's.
const NEAR: std::ops::RangeInclusive<f64> = 0.75..=1.25;

/// Settings whose number decides how long a run takes, not how much memory.
const SHORT: [&str; 8] =
    ["--set", "iterations=6", "--set", "grid_steps=6", "--set", "refine_steps=6", "--set", "init_steps=6"];

fn estimated(setup: &Setup, run: &[&str], out: &str) {
    ok(&setup.run(&[run, &["-o", out], &SHORT].concat()));
    let report = setup.json(&format!("{out}/report.json"));
    let bytes = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
    let (estimate, peak) = (bytes("/memory/estimated_peak_bytes"), bytes("/peak_memory_bytes"));
    println!("{out}: {:.1} MB estimated, {:.1} MB measured, {:.2}", estimate / 1e6, peak / 1e6, estimate / peak);
    assert!(NEAR.contains(&(estimate / peak)), "{out}: {estimate} estimated, {peak} measured");
}

#[test]
fn estimates_are_within_a_quarter_of_the_peak() {
    let setup = Setup::new();
    estimated(&setup, &["demo"], "fashion");
    estimated(&setup, &["demo", "-n", "32"], "fashion-32");
    estimated(&setup, &["demo", "--prior", "avatars"], "avatars");
    let setup = checkpoints::setup();
    let inpaint = ["inpaint", "picture.png", "--mask", "mask.png", "--prior", "model.ckpt", "--class", "1"];
    estimated(&setup, &inpaint, "tiny-latent");
}
