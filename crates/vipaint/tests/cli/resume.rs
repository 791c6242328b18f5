//! Fit today, sample tomorrow; and Ctrl-C in between.

use std::io::{BufRead, BufReader, Read};
use std::process::Command;

use crate::setup::{QUICK, Setup, names};

fn same_results(setup: &Setup, a: &str, b: &str) {
    for name in ["sample-000.png", "sample-001.png", "mean.png", "grid.png", "uncertainty.png", "posterior.safetensors"]
    {
        assert!(setup.bytes(&format!("{a}/{name}")) == setup.bytes(&format!("{b}/{name}")), "{name}");
    }
    let report = |folder: &str| setup.json(&format!("{folder}/report.json"));
    for key in ["log_weights", "inputs", "options", "bound", "seed", "noise", "condition"] {
        assert_eq!(report(a)[key], report(b)[key], "{key}");
    }
}

#[test]
fn fit_and_sample_give_what_one_run_gives() {
    let setup = Setup::new();
    let options = ["picture.png", "--mask", "mask.png", "--seed", "5", "--class", "dog", "--noise", "laplace:0.1"];
    setup.quick(&[&["inpaint"], &options[..], &["-n", "2", "-o", "one"]].concat());
    setup.quick(&[&["fit"], &options[..], &["--posterior", "deep/p.safetensors"]].concat());
    let tiny = ["--prior", "tiny.safetensors"];
    let said =
        setup.run(&[&["sample", "--posterior", "deep/p.safetensors", "-n", "2", "-o", "two"], &tiny[..]].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    same_results(&setup, "one", "two");
    assert!(setup.bytes("deep/p.safetensors") == setup.bytes("one/posterior.safetensors"));
}

/// Starts a command, waits until it works, and sends Ctrl-C; gives its exit code and the rest of stderr.
fn interrupted(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("hidden") {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "it ended before it worked");
    }
    std::thread::sleep(std::time::Duration::from_millis(150));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    (child.wait().unwrap().code(), rest)
}

#[cfg(unix)]
#[test]
fn an_interrupted_fit_is_kept_and_completed_to_the_same_bytes() {
    let setup = Setup::new();
    let options: Vec<&str> = ["picture.png", "--mask", "mask.png", "--prior", "tiny.safetensors"]
        .into_iter()
        .chain(["--set", "iterations=600"])
        .chain(QUICK[2..].iter().copied())
        .collect();
    let start = [&["inpaint", "-n", "2"], &options[..]].concat();
    let (code, said) = interrupted(setup.command(&[&start[..], &["-o", "two"]].concat()));
    assert_eq!(code, Some(130), "{said}");
    let resume =
        ["sample", "--posterior", "two/posterior.safetensors", "--prior", "tiny.safetensors", "-n", "2", "-o", "two"];
    assert!(said.contains(&format!("of 600; go on with: vipaint {}", resume.join(" "))), "{said}");
    assert_eq!(names(&setup.path("two"), "sample"), [""; 0]);
    assert_eq!(setup.json("two/report.json")["interrupted"], true);
    let done = setup.json("two/report.json")["bound"]["iterations"].as_u64().unwrap();
    assert!((1..600).contains(&done));

    let said = setup.run(&resume);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert_eq!(setup.run(&[&start[..], &["-o", "one"]].concat()).code, Some(0));
    same_results(&setup, "one", "two");
}

#[cfg(unix)]
#[test]
fn interrupted_sampling_keeps_the_samples_that_are_done() {
    let setup = Setup::new();
    let start =
        ["inpaint", "picture.png", "--mask", "mask.png", "--prior", "tiny.safetensors", "-o", "out", "--batch", "1"];
    let more = ["-n", "3000", "--method", "dps", "--set", "steps=5"];
    let (code, said) = interrupted(setup.command(&[&start[..], &more].concat()));
    assert_eq!(code, Some(130), "{said}");
    assert!(said.contains("of 3000 samples are in out; run the same command again"), "{said}");
    let drawn = names(&setup.path("out"), "sample").len();
    assert!((1..3000).contains(&drawn), "{drawn}");
    assert_eq!(setup.json("out/report.json")["samples"]["drawn"], drawn);
}
