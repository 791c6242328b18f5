//! The embedded prior `avatars` in the real binary: prompts, examples, known pixels.

use image::DynamicImage;

use crate::setup::Setup;

/// A fit and samples of a moment; few steps, but the real network.
const FEW: [&str; 16] = [
    "--set",
    "iterations=3",
    "--set",
    "mc_samples=2",
    "--set",
    "grid_steps=4",
    "--set",
    "refine_steps=8",
    "--set",
    "init_samples=2",
    "--set",
    "init_steps=8",
    "--set",
    "weights=false",
    "-n",
    "2",
];

fn known_pixels_are_kept(setup: &Setup, sample: &str) -> DynamicImage {
    let mask = image::load_from_memory(vipaint_avatars::MASKS[0].1).unwrap().to_luma8();
    let truth = image::load_from_memory(vipaint_avatars::PORTRAITS[0].1).unwrap().to_rgb8();
    let sample = image::load_from_memory(&setup.bytes(sample)).unwrap();
    for (x, y, pixel) in sample.to_rgb8().enumerate_pixels() {
        assert!(mask.get_pixel(x, y).0[0] == 0 || pixel == truth.get_pixel(x, y), "({x}, {y})");
    }
    sample
}

#[test]
fn the_demo_shows_a_portrait_and_a_prompt_changes_it() {
    let setup = Setup::new();
    let demo = |more: &[&str]| {
        let said = setup.run(&[&["demo", "--prior", "avatars"], &FEW[..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        said
    };
    demo(&["-o", "plain"]);
    let said = demo(&["--prompt", "a purplish blue mohawk", "--cfg-scale", "3", "-o", "prompted"]);
    assert!(said.stderr.contains("does not know \"purplish\""), "{}", said.stderr);
    let [plain, prompted] =
        ["plain", "prompted"].map(|folder| known_pixels_are_kept(&setup, &format!("{folder}/sample-000.png")));
    assert_eq!((plain.width(), plain.height()), (64, 64));
    assert_ne!(plain, prompted);
}

/// A quick look fits nothing and takes no gradient of the network; a fit that is asked for is fitted.
#[test]
fn a_quick_look_walks_without_gradients() {
    let setup = Setup::new();
    let quick = ["demo", "--prior", "avatars", "--preset", "fast"];
    let said =
        setup.run(&[&quick[..], &["-n", "2", "--prompt", "blue curls", "--cfg-scale", "3", "-o", "quick"]].concat());
    assert!(said.code == Some(0) && said.stderr.contains("nothing is fitted"), "{}", said.stderr);
    known_pixels_are_kept(&setup, "quick/sample-001.png");
    let report = setup.json("quick/report.json");
    assert_eq!((&report["options"]["correction"], &report["calls"]["vjp"]), (&"krylov".into(), &0.into()), "{report}");
    let said = setup.run(&[&quick[..], &FEW[..], &["-o", "fitted"]].concat());
    assert!(said.code == Some(0) && setup.path("fitted/posterior.safetensors").exists(), "{}", said.stderr);
}

#[test]
fn prompts_and_names_that_mean_nothing_are_refused() {
    let setup = Setup::new();
    let refused = |arguments: &[&str], parts: &[&str]| {
        let said = setup.run(&[&["demo", "--prior", "avatars"], arguments].concat());
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(parts.iter().all(|part| said.stderr.contains(part)), "{}", said.stderr);
    };
    refused(&["--prompt", "xyzzy"], &["--prompt", "xyzzy"]);
    refused(&["--class", "bag"], &["--class", "no classes"]);
    refused(&["--picture", "daa"], &["--picture", "did you mean"]);
    refused(&["--hide", "nose"], &["--hide", "mouth", "half"]);
    refused(&["--negative-prompt", "hat"], &["--cfg-scale"]);
}

#[test]
fn it_is_listed_and_described() {
    let setup = Setup::new();
    assert!(setup.run(&["prior", "list"]).stdout.contains("avatars"));
    let said = setup.run(&["--json", "prior", "info", "avatars"]);
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(info["pictures"], serde_json::json!([3, 64, 64]));
    assert!(info["words"].as_array().unwrap().iter().any(|word| word == "sunglasses"));
}

/// All samples, not only those that one looks at, stay near the known pixels before these are put back: what the fit and the
/// decoder make of them is in the mean picture's neighbourhood of the hole, which must not be noise.
#[test]
fn completions_are_no_noise() {
    let setup = Setup::new();
    let said = setup.run(&[&["demo", "--prior", "avatars", "--hide", "eyes", "-o", "eyes"], &FEW[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    for sample in ["eyes/sample-000.png", "eyes/sample-001.png"] {
        let picture = image::load_from_memory(&setup.bytes(sample)).unwrap().to_rgb8();
        // Cartoons are flat: most neighbouring pixels inside the hole are nearly alike, those of noise hardly ever.
        let near = |a: &image::Rgb<u8>, b: &image::Rgb<u8>| a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) < 24);
        let inside: Vec<bool> = (20..42u32)
            .flat_map(|y| (16..56u32).map(move |x| (x, y)))
            .map(|(x, y)| near(picture.get_pixel(x, y), picture.get_pixel(x - 1, y)))
            .collect();
        let flat = inside.iter().filter(|flat| **flat).count() as f64 / inside.len() as f64;
        assert!(flat > 0.5, "{sample}: {flat}");
    }
}
