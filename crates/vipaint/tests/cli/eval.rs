//! `vipaint eval` and `vipaint metrics pull`.

use image::{GrayImage, Luma};
use serde_json::Value;

use crate::setup::{Said, Setup};

/// Runs the binary with the test's folder for a cache.
fn run(setup: &Setup, arguments: &[&str]) -> Said {
    let output = setup.command(arguments).env("VIPAINT_CACHE", setup.path("cache")).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Said { code: output.status.code(), stdout, stderr }
}

/// A grey picture of 12x12 with one value, but another in the right half.
fn save(setup: &Setup, name: &str, left: u8, right: u8) {
    std::fs::create_dir_all(setup.path(name).parent().unwrap()).unwrap();
    let picture = GrayImage::from_fn(12, 12, |x, _| Luma([if x < 6 { left } else { right }]));
    setup.save(name, &picture.into());
}

fn rows(said: &Said) -> impl Fn(&str) -> Option<f64> {
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let report: Value = serde_json::from_str(&said.stdout).unwrap();
    move |metric: &str| report["rows"].as_array().unwrap().iter().find(|row| row["metric"] == metric)?["value"].as_f64()
}

#[test]
fn samples_of_a_picture_are_measured_in_the_hole() {
    let setup = Setup::new();
    save(&setup, "truth.png", 100, 100);
    for (i, right) in [49, 100, 151].into_iter().enumerate() {
        save(&setup, &format!("out/sample-00{i}.png"), 100, right);
    }
    save(&setup, "out/mean.png", 0, 0);
    setup.save("hole.png", &crate::setup::half(12, 12));
    let said =
        run(&setup, &["eval", "out", "--against", "truth.png", "--mask", "hole.png", "--json", "-o", "report.json"]);
    let value = rows(&said);
    // 51 / 255 is a fifth of the peak: -20 log10(.2) dB twice, and 100 dB for the sample that is the truth.
    let expected = (2.0 * 20.0 * 5f64.log10() + 100.0) / 3.0;
    assert!((value("psnr").unwrap() - expected).abs() < 1e-3, "{:?}", value("psnr"));
    assert!((value("pixel sd").unwrap() - 0.2).abs() < 1e-6);
    assert_eq!((value("psnr of the mean"), value("known pixels' error")), (Some(100.0), Some(0.0)));
    assert_eq!((value("coverage"), value("nominal coverage")), (Some(1.0), Some(0.5)));
    assert_eq!((value("lpips"), value("kid")), (None, None));
    assert!(said.stdout.contains("vipaint metrics pull") && setup.json("report.json")["pictures"]["truth"].is_object());
    // Without a mask the left half counts, too: half of the squared error.
    let said = run(&setup, &["eval", "out", "--against", "truth.png", "--json"]);
    let expected = (2.0 * (20.0 * 5f64.log10() + 10.0 * 2f64.log10()) + 100.0) / 3.0;
    assert!((rows(&said)("psnr").unwrap() - expected).abs() < 1e-3);
    assert!((rows(&said)("pixel sd").unwrap() - 0.1).abs() < 1e-6);
}

#[test]
fn folders_are_paired_by_name() {
    let setup = Setup::new();
    for (name, error) in [("a", 0), ("b", 51)] {
        save(&setup, &format!("truths/{name}.png"), 100, 100);
        save(&setup, &format!("flat/{name}.png"), 100 + error, 100 + error);
        save(&setup, &format!("deep/{name}/sample-000.png"), 100 + error, 100 + error);
    }
    let expected = f64::midpoint(100.0, 20.0 * 5f64.log10());
    for results in ["flat", "deep"] {
        let said = run(&setup, &["eval", results, "--against", "truths", "--json"]);
        assert!((rows(&said)("psnr").unwrap() - expected).abs() < 1e-3);
        assert_eq!(rows(&said)("pixel sd"), None);
    }
    let said = run(&setup, &["eval", "flat", "--against", "truths"]);
    assert!(said.stdout.contains("psnr") && said.stderr.contains("LPIPS is left out"), "{}", said.stderr);
}

#[test]
fn what_cannot_be_measured_is_named() {
    let setup = Setup::new();
    save(&setup, "truths/a.png", 1, 2);
    save(&setup, "flat/b.png", 1, 2);
    save(&setup, "named/picture.png", 1, 2);
    std::fs::create_dir(setup.path("empty")).unwrap();
    setup.write("weights.pth", b"none");
    let cases: [(&[&str], i32, &[&str]); 7] = [
        (&["flat", "--against", "truths"], 2, &["--against", "\"b\"", "by name"]),
        (&["empty", "--against", "truths"], 2, &["DIR", "holds no pictures"]),
        (&["nowhere", "--against", "truths"], 3, &["nowhere", "check the path"]),
        (&["flat", "--against", "picture.png"], 3, &["b.png", "12x12", "8x8"]),
        (&["flat", "--against", "flat", "--mask", "mask.png"], 3, &["mask.png", "8x8", "12x12"]),
        (&["flat", "--against", "flat", "--level", "1.5"], 2, &["--level", "0.9"]),
        (&["flat", "--against", "flat", "--lpips-weights", "weights.pth"], 3, &["--lpips-weights", "AlexNet"]),
    ];
    for (more, code, parts) in cases {
        let said = run(&setup, &[&["eval"], more].concat());
        assert_eq!(said.code, Some(code), "{more:?}: {}", said.stderr);
        for part in parts {
            assert!(said.stderr.contains(part), "{part:?} is not in: {}", said.stderr);
        }
    }
}

#[test]
fn a_package_of_another_hash_is_refused() {
    let setup = Setup::new();
    std::fs::create_dir(setup.path("wheels")).unwrap();
    let said = run(&setup, &["metrics", "pull", "--from", "wheels"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("stlpips_pytorch-0.0.2"), "{}", said.stderr);
    setup.write("wheels/stlpips_pytorch-0.0.2-py3-none-any.whl", b"not it");
    let said = run(&setup, &["metrics", "pull", "--from", "wheels"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(said.stderr.contains("SHA-256"), "{}", said.stderr);
    assert!(std::fs::read_dir(setup.path("cache/metrics")).unwrap().next().is_none());
}
