//! What a run writes, and that it writes the same again.

use crate::setup::{Setup, names};

const INPAINT: [&str; 4] = ["inpaint", "picture.png", "--mask", "mask.png"];

fn inpaint<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&INPAINT, more].concat()
}

#[test]
fn a_run_writes_everything_it_promises() {
    let setup = Setup::new();
    let said = setup.quick(&inpaint(&["-n", "3", "-o", "out"]));
    assert!(said.stderr.contains("50.0 % hidden"), "{}", said.stderr);
    assert!(said.stdout.contains("grid.png"), "{}", said.stdout);
    let expected = [
        "grid.png",
        "mean.png",
        "posterior.safetensors",
        "report.json",
        "sample-000.png",
        "sample-001.png",
        "sample-002.png",
        "trace.png",
        "uncertainty.png",
    ];
    assert_eq!(names(&setup.path("out"), ""), expected);
    let report = setup.json("out/report.json");
    assert_eq!(report["command"], "inpaint");
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["prior"]["name"], "tiny");
    assert_eq!(report["inputs"]["mask"]["hidden_share"], 0.5);
    assert_eq!(report["options"]["iterations"], 3);
    let weights = report["log_weights"].as_array().unwrap();
    assert!(weights.len() == 3 && weights.iter().all(|weight| weight.as_f64().unwrap().is_finite()));
    let mut order: Vec<u64> = report["order"].as_array().unwrap().iter().map(|i| i.as_u64().unwrap()).collect();
    let by_weight = |i: &u64| -weights[*i as usize].as_f64().unwrap();
    assert!(order.is_sorted_by_key(by_weight), "{order:?} {weights:?}");
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2]);
    assert!(report["bound"]["bounds"].as_str().unwrap().contains("not log p(y) of the data model"));
    let (bound, terms) = (&report["bound"], ["hierarchy", "prior", "start"]);
    let number = |name: &str| bound[name].as_f64().unwrap();
    let total = number("reconstruction") - terms.iter().map(|term| number(term)).sum::<f64>();
    assert!((number("total") - total).abs() < 1e-6 * total.abs());
}

/// The start: `init_samples` x `init_steps`, all with gradients. Per iteration: a path of `mc_samples` at both keypoints, and `prior_steps` x `prior_samples` above, all with gradients.
/// Per sample: one call at the top keypoint, `refine_steps`, and for its weight one at both keypoints and each grid step.
#[test]
fn calls_are_counted_exactly() {
    let setup = Setup::new();
    setup.quick(&inpaint(&["-n", "3", "-o", "out"]));
    let calls = &setup.json("out/report.json")["calls"];
    let fit = 2 * 5 + 3 * (2 * 2 + 2 * 2);
    assert_eq!((calls["fit"]["denoiser"].as_u64(), calls["fit"]["vjp"].as_u64()), (Some(fit), Some(fit)));
    let sample = 3 * (1 + 3 + 2 + 4);
    assert_eq!((calls["sample"]["denoiser"].as_u64(), calls["sample"]["vjp"].as_u64()), (Some(sample), Some(3 * 3)));
    assert_eq!(calls["denoiser"].as_u64(), Some(fit + sample));
}

#[test]
fn samples_depend_on_the_seed_and_on_nothing_else() {
    let setup = Setup::new();
    let variants: [(&str, &[&str]); 5] = [
        ("one", &["-n", "2"]),
        ("more", &["-n", "5"]),
        ("batches", &["-n", "5", "--batch", "2"]),
        ("threads", &["-n", "2", "--threads", "3"]),
        ("seed", &["-n", "2", "--seed", "1"]),
    ];
    for (folder, more) in variants {
        setup.quick(&inpaint(&[more, &["-o", folder]].concat()));
    }
    for sample in ["sample-000.png", "sample-001.png"] {
        let first = setup.bytes(&format!("one/{sample}"));
        for folder in ["more", "batches", "threads"] {
            assert!(setup.bytes(&format!("{folder}/{sample}")) == first, "{folder}/{sample}");
        }
        assert!(setup.bytes(&format!("seed/{sample}")) != first);
    }
    let posterior = setup.bytes("one/posterior.safetensors");
    for folder in ["more", "batches", "threads"] {
        assert!(setup.bytes(&format!("{folder}/posterior.safetensors")) == posterior, "{folder}");
    }
}

#[test]
fn with_json_stdout_is_the_report() {
    let setup = Setup::new();
    let said = setup.quick(&inpaint(&["--json", "-o", "out"]));
    let printed: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(printed, setup.json("out/report.json"));
}

#[test]
fn every_method_runs() {
    let setup = Setup::new();
    for (method, sets) in [("dps", "steps=4"), ("repaint", "steps=8"), ("unconditional", "steps=4")] {
        let arguments = ["-n", "2", "--method", method, "--set", sets, "-o", method, "--prior", "tiny.safetensors"];
        let said = setup.run(&inpaint(&arguments));
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        let files = ["grid.png", "mean.png", "report.json", "sample-000.png", "sample-001.png", "uncertainty.png"];
        assert_eq!(names(&setup.path(method), ""), files);
    }
}

#[test]
fn a_class_may_be_named_or_numbered_and_matters() {
    let setup = Setup::new();
    for (folder, class) in [("named", "Dog"), ("numbered", "1"), ("other", "cat")] {
        setup.quick(&inpaint(&["-n", "1", "--class", class, "--cfg-scale", "3", "-o", folder]));
    }
    let sample = |folder: &str| setup.bytes(&format!("{folder}/sample-000.png"));
    assert!(sample("named") == sample("numbered"));
    assert!(sample("named") != sample("other"));
    assert_eq!(setup.json("named/report.json")["condition"]["class"], "dog");
}

#[test]
fn a_strength_can_be_set_in_two_ways() {
    let setup = Setup::new();
    setup.quick(&inpaint(&["-n", "1", "--class", "cat", "--cfg-scale", "2.5", "-o", "a"]));
    setup.quick(&inpaint(&["-n", "1", "--class", "cat", "--set", "cfg_scale=2.5", "-o", "b"]));
    assert!(setup.bytes("a/sample-000.png") == setup.bytes("b/sample-000.png"));
}

#[test]
fn demo_needs_no_files() {
    let setup = Setup::new();
    let quick: Vec<&str> = crate::setup::QUICK.to_vec();
    let said =
        setup.run(&[&["demo", "-n", "2", "--picture", "bag", "--hide", "box", "-o", "seen"][..], &quick].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(names(&setup.path("seen"), "sample"), ["sample-000.png", "sample-001.png"]);
    let report = setup.json("seen/report.json");
    assert_eq!(report["inputs"]["picture"]["name"], "bag");
    assert_eq!(report["inputs"]["mask"]["hidden_share"], 0.25);
}

#[test]
fn pictures_of_an_earlier_run_do_not_stay_among_the_new_ones() {
    let setup = Setup::new();
    std::fs::create_dir(setup.path("out")).unwrap();
    setup.write("out/mine.png", b"not the program's");
    setup.quick(&inpaint(&["-n", "4", "-o", "out"]));
    let posterior = setup.bytes("out/posterior.safetensors");
    let dps = ["-n", "2", "--method", "dps", "--set", "steps=2", "--prior", "tiny.safetensors", "-o", "out"];
    assert_eq!(setup.run(&inpaint(&dps)).code, Some(0));
    let expected = [
        "grid.png",
        "mean.png",
        "mine.png",
        "posterior.safetensors",
        "report.json",
        "sample-000.png",
        "sample-001.png",
        "uncertainty.png",
    ];
    assert_eq!(names(&setup.path("out"), ""), expected);
    assert!(setup.bytes("out/posterior.safetensors") == posterior);
}

#[test]
fn many_samples_are_drawn_and_some_are_shown() {
    let setup = Setup::new();
    setup.quick(&inpaint(&["-n", "70", "-o", "out"]));
    assert_eq!(names(&setup.path("out"), "sample").len(), 70);
    // 8 columns of 64 samples, each 176 pixels wide at most, with their labels.
    let grid = image::open(setup.path("out/grid.png")).unwrap();
    assert!(grid.height() < 8 * 220, "{}", grid.height());
}
