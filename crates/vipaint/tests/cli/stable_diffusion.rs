//! Stable Diffusion's folders as priors, on tiny ones with random weights.

use image::{DynamicImage, GenericImageView, RgbImage};

use crate::setup::{QUICK, Said, Setup, half};

#[path = "../../../zoo/tests/stable_diffusion/folder.rs"]
mod folder;

const SIDE: u32 = 16;

fn setup(families: &[&str]) -> Setup {
    let setup = Setup::new();
    for family in families {
        folder::write(family, &setup.path(family));
    }
    let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([(x * 15) as u8, (y * 15) as u8, (x * y) as u8]));
    setup.save("rgb.png", &picture.into());
    setup.save("hole.png", &half(SIDE, SIDE));
    setup
}

fn inpaint(setup: &Setup, family: &str, out: &str, more: &[&str]) -> Said {
    let files = ["inpaint", "rgb.png", "--mask", "hole.png", "--prior", family, "-n", "1", "-o", out];
    setup.run(&[&files[..], &QUICK, more].concat())
}

fn open(setup: &Setup, name: &str) -> DynamicImage {
    image::open(setup.path(name)).unwrap()
}

#[test]
fn every_family_inpaints_after_a_prompt() {
    let setup = setup(&["sd1", "sd2", "sdxl"]);
    for family in ["sd1", "sd2", "sdxl"] {
        let more = ["--prompt", "a photo of a red cat", "--negative-prompt", "the snow", "--cfg-scale", "3"];
        let said = inpaint(&setup, family, family, &more);
        assert_eq!(said.code, Some(0), "{family}: {}", said.stderr);
        let (picture, sample) = (open(&setup, "rgb.png"), open(&setup, &format!("{family}/sample-000.png")));
        assert_eq!(sample.dimensions(), (SIDE, SIDE));
        let known = (0..SIDE).flat_map(|y| (0..SIDE / 2).map(move |x| (x, y)));
        assert!(known.into_iter().all(|(x, y)| sample.get_pixel(x, y) == picture.get_pixel(x, y)), "{family}");
        assert!((0..SIDE).any(|y| sample.get_pixel(SIDE - 1, y) != picture.get_pixel(SIDE - 1, y)), "{family}");
        assert_eq!(setup.json(&format!("{family}/report.json"))["prior"]["name"], *family);
    }
}

#[test]
fn prompts_count_and_the_same_one_gives_the_same_bytes() {
    let setup = setup(&["sd1"]);
    let sample = |out: &str, more: &[&str]| {
        let said = inpaint(&setup, "sd1", out, more);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        setup.bytes(&format!("{out}/sample-000.png"))
    };
    let cat = sample("cat", &["--prompt", "a red cat"]);
    assert_eq!(cat, sample("again", &["--prompt", "a red cat"]));
    assert_ne!(cat, sample("fox", &["--prompt", "a fox in the snow"]));
    assert_ne!(cat, sample("nothing", &[]));
}

#[test]
fn long_prompts_are_cut_with_a_warning_that_names_what_was_not_read() {
    let setup = setup(&["sd2"]);
    let said = inpaint(&setup, "sd2", "out", &["--prompt", &format!("{} dog", "cat ".repeat(18))]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(said.stderr.contains(r#"warning: --prompt: is too long; not read: "dog""#), "{}", said.stderr);
}

#[test]
fn folders_are_described_and_faults_in_them_named() {
    let setup = setup(&["sd1"]);
    let said = setup.run(&["prior", "info", "sd1", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let info: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!((&info["shape"], &info["pictures"]), (&serde_json::json!([4, 8, 8]), &serde_json::json!([3, 16, 16])));
    assert_eq!(info["family"], "Stable Diffusion (diffusers)");
    std::fs::remove_file(setup.path("sd1/vae/diffusion_pytorch_model.safetensors")).unwrap();
    let said = inpaint(&setup, "sd1", "out", &["--prompt", "a cat"]);
    assert_eq!(said.code, Some(3));
    assert!(said.stderr.contains("vae: has no weights file"), "{}", said.stderr);
}
