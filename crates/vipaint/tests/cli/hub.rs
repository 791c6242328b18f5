//! Priors from a hub on this machine.

#[path = "../../../hub/tests/server/mod.rs"]
mod server;

use serde_json::Value;
use server::{COMMIT, Hub};

use crate::setup::{QUICK, Said, Setup, prior};

const TOKEN: &str = "hf_VerySecret";

/// Runs the binary with a hub and the test's folder for a home.
fn run(setup: &Setup, hub: &Hub, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = setup.command(arguments);
    for name in ["HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_TOKEN_PATH", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", setup.path("home")).env("NO_PROXY", "*");
    command.env("HF_TOKEN", TOKEN).envs(variables.iter().copied());
    let output = command.output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert!(!(stdout.clone() + &stderr).contains(TOKEN), "the token is printed: {stderr}");
    Said { code: output.status.code(), stdout, stderr }
}

#[test]
fn a_prior_is_fetched_once_and_used_like_its_file() {
    let (setup, file) = (Setup::new(), prior("tiny", 0.37));
    let hub = Hub::start("me/tiny", &[("README.md", vec![0; 9]), ("tiny.safetensors", file.clone())]);
    hub.site().cuts = [500].into();
    let said = run(&setup, &hub, &["prior", "pull", "hf:me/tiny", "--json"], &[]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let pulled: Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(std::fs::read(pulled["path"].as_str().unwrap()).unwrap(), file);
    assert_eq!((pulled["commit"].as_str(), pulled["files"][0]["checked"].as_str()), (Some(COMMIT), Some("sha256")));
    assert!(said.stderr.contains("trying again") && said.stderr.contains("fetch "), "{}", said.stderr);
    hub.seen();

    let info = |prior: &str| run(&setup, &hub, &["prior", "info", prior, "--json"], &[]).stdout;
    assert_eq!(info("hf:me/tiny"), info("tiny.safetensors"));
    let inpaint = ["inpaint", "picture.png", "--mask", "mask.png", "-n", "1"];
    let pictures = [("hf:me/tiny", "far"), ("tiny.safetensors", "near")].map(|(prior, out)| {
        let said = run(&setup, &hub, &[&inpaint[..], &["--prior", prior, "-o", out], &QUICK].concat(), &[]);
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        setup.bytes(&format!("{out}/sample-000.png"))
    });
    assert_eq!(pictures[0], pictures[1]);
    assert!(hub.seen().iter().all(|seen| seen.path.starts_with("/api/")), "fetched again");
    let offline = run(&setup, &hub, &["prior", "info", "hf:me/tiny@main"], &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!((offline.code, hub.seen().len()), (Some(0), 0), "{}", offline.stderr);
}

#[test]
fn errors_say_what_to_do() {
    let setup = Setup::new();
    let hub = Hub::start("me/two", &[("a.ckpt", vec![1; 10]), ("b.ckpt", vec![2; 10])]);
    let fails = |prior: &str, variables: &[(&str, &str)], code: i32, parts: &[&str]| {
        let inpaint = ["inpaint", "picture.png", "--mask", "mask.png", "--prior", prior];
        for arguments in [&["prior", "pull", prior][..], &inpaint] {
            let said = run(&setup, &hub, arguments, variables);
            assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.stderr);
            for part in parts {
                assert!(said.stderr.contains(part), "{part:?} is not in: {}", said.stderr);
            }
        }
    };
    fails("hf:me", &[], 2, &["PRIOR", "hf:ORG/REPO"].map(|part| if part == "PRIOR" { "\"hf:me\"" } else { part }));
    fails("hf:me/none", &[], 2, &["repository me/none", "HF_TOKEN"]);
    fails("hf:me/two", &[], 2, &["several", "a.ckpt, b.ckpt"]);
    fails("hf:me/two", &[("HF_HUB_OFFLINE", "1")], 2, &["HF_HUB_OFFLINE", "hf:me/two"]);
    fails("hf:me/two", &[("HF_ENDPOINT", "nowhere")], 2, &["HF_ENDPOINT", "https://"]);
    fails("hf:me/two", &[("HF_ENDPOINT", "http://127.0.0.1:9")], 4, &["127.0.0.1", "check the network"]);
    hub.site().gate = Some(("hf_other".into(), 403, "GatedRepo"));
    fails("hf:me/two", &[], 2, &["gated", "accept its conditions"]);
    assert!(!setup.path("out").join("report.json").exists());
}
