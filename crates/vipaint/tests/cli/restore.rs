//! `deblur`, `upscale`, `restore`: pictures that were degraded as a whole.

use image::{DynamicImage, GenericImageView, GrayImage, Luma, Rgb, RgbImage};

use crate::setup::{QUICK, Setup, names};

/// A picture of a garment's size with some structure.
fn garment(side: u32) -> DynamicImage {
    GrayImage::from_fn(side, side, |x, y| {
        let inside = (side / 4..3 * side / 4).contains(&x) && (side / 6..5 * side / 6).contains(&y);
        Luma([if inside { (120 + x * 3 + (y % 4) * 9) as u8 } else { 0 }])
    })
    .into()
}

#[track_caller]
fn fails(setup: &Setup, arguments: &[&str], code: i32, parts: &[&str]) {
    let said = setup.run(arguments);
    assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{part:?} is not in: {}", said.stderr);
    }
    assert!(!said.stderr.contains("panicked") && said.stdout.is_empty(), "{}", said.stderr);
}

/// Every operator, the embedded prior: simulated from a clean picture, then restored from what was measured.
#[test]
fn every_operator_end_to_end_on_the_embedded_prior() {
    let setup = Setup::new();
    setup.save("clean.png", &garment(28));
    setup.write("kernel.txt", b"0 1 0\n1, 4, 1\n0 1 0\n");
    setup.save("kernel.png", &GrayImage::from_pixel(3, 2, Luma([200])).into());
    let cases: [(&[&str], u32); 12] = [
        (&["deblur", "--kernel", "gaussian:1.5"], 28),
        (&["deblur", "--kernel", "motion:5:30", "--noise", "poisson:40"], 28),
        (&["deblur", "--kernel", "kernel.txt", "--noise", "laplace:0.05"], 28),
        (&["deblur", "--kernel", "kernel.png"], 28),
        (&["upscale", "--factor", "2"], 14),
        (&["upscale", "--factor", "4", "--kernel", "box"], 7),
        (&["upscale", "--factor", "8"], 3),
        (&["restore", "--operator", "blocks:4", "--noise", "poisson:100"], 7),
        (&["restore", "--operator", "jpeg:10", "--noise", "none"], 28),
        (&["restore", "--operator", "hdr"], 28),
        (&["restore", "--operator", "hdr:3+jpeg:40"], 28),
        (&["restore", "--operator", "gaussian:1+bicubic:2"], 14),
    ];
    let (small, dps) = (["--set", "weights=false"], ["--method", "dps", "--set", "steps=2"]);
    for (case, measured) in cases {
        let start =
            [&case[..1], &["clean.png", "--simulate", "-n", "1", "-o", "out"], &case[1..], &QUICK, &small].concat();
        let said = setup.run(&start);
        assert_eq!(said.code, Some(0), "{case:?}: {}", said.stderr);
        assert!(said.stdout.contains("PSNR"), "{}", said.stdout);
        let report = setup.json("out/report.json");
        let near = &report["against_truth"];
        assert!(near["psnr_of_mean"].as_f64().is_some_and(|psnr| psnr > 5.0 && psnr < 60.0), "{case:?}: {near}");
        assert!(near["ssim_of_mean"].as_f64().is_some_and(|ssim| ssim <= 1.0), "{near}");
        assert_eq!(report["inputs"]["simulated"], true);
        let size = image::open(setup.path("out/measured.png")).unwrap().dimensions();
        assert_eq!(size, (measured, measured), "{case:?}");

        // What was measured is a picture that can be given by itself; the result is of the same size.
        let result = image::open(setup.path("out/sample-000.png")).unwrap().dimensions();
        std::fs::copy(setup.path("out/measured.png"), setup.path("measured.png")).unwrap();
        let again = [&case[..1], &["measured.png", "-n", "1", "-o", "again"], &case[1..], &dps].concat();
        let said = setup.run(&again);
        assert_eq!(said.code, Some(0), "{case:?}: {}", said.stderr);
        assert_eq!(image::open(setup.path("again/sample-000.png")).unwrap().dimensions(), result, "{case:?}");
        let files = ["grid.png", "mean.png", "report.json", "sample-000.png", "uncertainty.png"];
        assert_eq!(names(&setup.path("again"), ""), files);
        assert!(setup.json("again/report.json")["against_truth"].is_null());
    }
}

#[test]
fn a_posterior_of_a_degraded_picture_draws_what_one_run_gives() {
    let setup = Setup::new();
    setup.save("clean.png", &garment(8));
    setup.write("kernel.txt", b"1 2 1");
    for operator in ["bicubic:2", "gaussian:0.8+jpeg:20", "kernel:kernel.txt"] {
        let options = ["clean.png", "--simulate", "--operator", operator, "--seed", "3"];
        setup.quick(&[&["restore"], &options[..], &["-n", "2", "-o", "one"]].concat());
        setup.quick(&[&["fit"], &options[..], &["--posterior", "p.safetensors"]].concat());
        // The file needs nothing else but the prior.
        std::fs::rename(setup.path("kernel.txt"), setup.path("away.txt")).unwrap();
        let sample = ["sample", "--posterior", "p.safetensors", "--prior", "tiny.safetensors", "-n", "2", "-o", "two"];
        let said = setup.run(&sample);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        std::fs::rename(setup.path("away.txt"), setup.path("kernel.txt")).unwrap();
        for name in
            ["sample-000.png", "sample-001.png", "mean.png", "grid.png", "measured.png", "posterior.safetensors"]
        {
            assert!(setup.bytes(&format!("one/{name}")) == setup.bytes(&format!("two/{name}")), "{operator} {name}");
        }
        assert_eq!(setup.json("one/report.json")["against_truth"], setup.json("two/report.json")["against_truth"]);
    }
}

/// Without a word on a fit nothing is fitted where data tell nearly all: in a picture as a whole, and in a thin hole.
#[test]
fn near_data_paths_are_guided_unless_a_fit_is_asked_for() {
    let setup = Setup::new();
    setup.save("clean.png", &garment(8));
    let stripes = |every| GrayImage::from_fn(8, 8, move |x, _| Luma([if x % every == 1 { 0 } else { 255 }]));
    setup.save("thin.png", &stripes(4).into());
    setup.save("thick.png", &GrayImage::from_fn(8, 8, |x, _| Luma([if x < 4 { 255 } else { 0 }])).into());
    let options = ["--prior", "tiny.safetensors", "-n", "2", "--set", "refine_steps=2", "-o", "out"];
    let blurred: &[&str] = &["deblur", "clean.png", "--kernel", "gaussian:1", "--simulate"];
    let fit: &[&str] = &["--set", "iterations=1"];
    let cases: [(&[&str], &[&str], bool); 5] = [
        (blurred, &["--set", "path_steps=3"], true),
        (blurred, fit, false),
        (blurred, &["--set", "particles=0", "--set", "path_steps=3", "--preset", "fast"], false),
        (&["inpaint", "clean.png", "--mask", "thin.png"], &["--set", "path_steps=3"], true),
        (&["inpaint", "clean.png", "--mask", "thick.png"], fit, false),
    ];
    for (what, more, guided) in cases {
        let said = setup.run(&[what, &options[..], more].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        assert_eq!(said.stderr.contains("nothing is fitted"), guided, "{what:?} {more:?}: {}", said.stderr);
        let used = &setup.json("out/report.json")["options"];
        assert_eq!((used["particles"] == 4, used["correction"] == "search"), (guided, guided), "{what:?} {more:?}");
        assert_eq!(setup.path("out/posterior.safetensors").exists(), !guided, "{what:?} {more:?}");
        std::fs::remove_dir_all(setup.path("out")).unwrap();
    }
}

#[test]
fn credible_intervals_say_what_their_samples_allow() {
    let setup = Setup::new();
    setup.save("clean.png", &garment(28));
    for (n, level, word) in [("2", 1.0 / 3.0, "too few"), ("19", 0.9, "19 samples")] {
        let dps = ["--method", "dps", "--set", "steps=3"];
        let said =
            setup.run(&[&["upscale", "clean.png", "--factor", "4", "--simulate", "-n", n, "-o", n], &dps[..]].concat());
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let intervals = &setup.json(&format!("{n}/report.json"))["credible_intervals"];
        assert!((intervals["level"].as_f64().unwrap() - level).abs() < 1e-9, "{intervals}");
        assert!(intervals["verdict"].as_str().unwrap().starts_with(word), "{intervals}");
        assert!((0.0..=1.0).contains(&intervals["truth_inside"].as_f64().unwrap()), "{intervals}");
        assert!(intervals["mean_width"].as_f64().unwrap() > 0.0, "{intervals}");
        assert_eq!(setup.path(&format!("{n}/interval-low.png")).exists(), n == "19");
    }
}

#[test]
fn samples_of_a_degraded_picture_depend_on_the_seed_and_on_nothing_else() {
    let setup = Setup::new();
    setup.save("clean.png", &garment(8));
    let run = |folder: &str, more: &[&str]| {
        setup.quick(
            &[&["restore", "clean.png", "--simulate", "--operator", "gaussian:1+hdr", "-o", folder], more].concat(),
        );
        (setup.bytes(&format!("{folder}/measured.png")), setup.bytes(&format!("{folder}/sample-001.png")))
    };
    let one = run("one", &["-n", "2"]);
    assert!(one == run("more", &["-n", "5", "--batch", "3", "--threads", "3"]));
    let other = run("other", &["-n", "2", "--seed", "1"]);
    assert!(one.0 != other.0 && one.1 != other.1);
}

#[test]
fn every_method_restores_or_says_why_not() {
    let setup = Setup::new();
    let tiny = ["--simulate", "--prior", "tiny.safetensors", "-n", "1", "-o", "out"];
    for operator in ["gaussian:1", "motion:3:45", "bicubic:2", "blocks:2", "jpeg:30", "hdr", "gaussian:1+box:2"] {
        for (method, sets) in [("dps", "steps=4"), ("unconditional", "steps=4")] {
            let arguments = ["restore", "picture.png", "--operator", operator, "--method", method, "--set", sets];
            let said = setup.run(&[&arguments[..], &tiny].concat());
            assert_eq!(said.code, Some(0), "{operator} {method}: {}", said.stderr);
        }
        let repaint = ["restore", "picture.png", "--operator", operator, "--method", "repaint"];
        fails(&setup, &[&repaint[..], &tiny].concat(), 2, &["--method", "repaint needs a mask"]);
    }
}

#[test]
fn pictures_of_other_sizes_are_restored_in_their_middle() {
    let setup = Setup::new();
    setup.save("large.png", &garment(40));
    let said = setup.quick(&["deblur", "large.png", "--kernel", "gaussian:1", "-n", "1", "-o", "out"]);
    assert!(said.stderr.contains("only the part of 8x8 pixels at (16, 16) is restored"), "{}", said.stderr);
    assert_eq!(image::open(setup.path("out/mean.png")).unwrap().dimensions(), (8, 8));
    let said = setup.quick(&["upscale", "large.png", "--factor", "4", "-n", "1", "-o", "out"]);
    assert!(said.stderr.contains("2x2 pixels at (19, 19)"), "{}", said.stderr);
    assert_eq!(image::open(setup.path("out/mean.png")).unwrap().dimensions(), (8, 8));
    // Depth is kept; a narrow picture is restored as it is.
    let deep = DynamicImage::ImageLuma16(garment(40).crop_imm(12, 12, 5, 7).into_luma16());
    setup.save("deep.png", &deep);
    setup.quick(&["restore", "deep.png", "--operator", "jpeg:50", "-n", "1", "-o", "out"]);
    let result = image::open(setup.path("out/sample-000.png")).unwrap();
    assert_eq!((result.color(), result.dimensions()), (deep.color(), (5, 7)));
}

#[test]
fn wrong_use_is_named_with_the_right_one() {
    let setup = Setup::new();
    setup.save("red.png", &RgbImage::from_pixel(8, 8, Rgb([200, 10, 10])).into());
    setup.write("zero.txt", b"1 -1");
    setup.write("ragged.txt", b"1 2\n3");
    let cases: &[(&[&str], i32, &[&str])] = &[
        (&["deblur", "picture.png"], 2, &["--kernel"]),
        (
            &["deblur", "missing.png", "--kernel", "gausian:1"],
            2,
            &["--kernel", "did you mean gaussian?", "path of a file"],
        ),
        (&["deblur", "missing.png", "--kernel", "gaussian:0"], 2, &["--kernel", "sigma must be above 0"]),
        (&["deblur", "missing.png", "--kernel", "motion:0:3"], 2, &["--kernel", "length must be between 1"]),
        (&["deblur", "missing.png", "--kernel", "gaussian:1"], 3, &["missing.png", "cannot be read"]),
        (&["deblur", "picture.png", "--kernel", "zero.txt"], 3, &["zero.txt", "sum is 0"]),
        (&["deblur", "picture.png", "--kernel", "ragged.txt"], 3, &["ragged.txt", "is not a picture"]),
        (&["upscale", "picture.png", "--factor", "3"], 2, &["--factor", "2, 4 or 8 (nearest: 2)"]),
        (&["upscale", "picture.png", "--kernel", "lanczos"], 2, &["--kernel", "bicubic"]),
        (&["restore", "picture.png", "--operator", "jpg:10"], 2, &["--operator", "did you mean jpeg?"]),
        (&["restore", "picture.png", "--operator", "jpeg:101"], 2, &["--operator", "between 1 and 100"]),
        (&["restore", "picture.png", "--operator", "hdr:0.5"], 2, &["--operator", "gain must be between 1"]),
        (&["restore", "picture.png", "--operator", "box:4", "--noise", "poisson:0"], 2, &["--noise", "photons"]),
        (&["restore", "picture.png", "--operator", "grey"], 2, &["--operator", "knows no colours"]),
        (&["restore", "red.png", "--operator", "hdr"], 3, &["red.png", "the prior knows only grey"]),
        (&["restore", "picture.png", "--operator", "hdr", "--set", "context=2"], 2, &["--set context", "hole"]),
        (&["fit", "picture.png", "--posterior", "p.safetensors"], 2, &["--mask", "--operator"]),
        (&["fit", "picture.png", "--mask", "mask.png", "--simulate", "--posterior", "p"], 2, &["--operator"]),
        (&["restore", "picture.png", "--operator", "box:8+box:8", "--simulate"], 3, &["too small"]),
    ];
    for (arguments, code, parts) in cases {
        fails(&setup, &[arguments, &["--prior", "tiny.safetensors"][..]].concat(), *code, parts);
    }
    assert!(!setup.path("out").exists() || names(&setup.path("out"), "").is_empty());
}
