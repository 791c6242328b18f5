//! Another device than the CPU, in a build that has one: `cargo test --release -p vipaint --features wgpu --test cli device`.

use crate::setup::Setup;

const RUN: [&str; 6] = ["inpaint", "picture.png", "--mask", "mask.png", "-n", "2"];

/// Whether the machine has one; if not, the command must say so.
fn is_there(setup: &Setup) -> bool {
    let said = setup.run(&["prior", "bench", "tiny.safetensors", "--rounds", "1", "--device", "wgpu"]);
    if said.code == Some(4) {
        assert!(said.stderr.contains("--device wgpu") && said.stderr.contains("--device cpu"), "{}", said.stderr);
        println!("not tested: {}", said.stderr);
        return false;
    }
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    true
}

#[test]
fn a_run_is_repeated_byte_by_byte_and_is_that_of_the_cpu_but_for_rounding() {
    let setup = Setup::new();
    if !is_there(&setup) {
        return;
    }
    for (folder, device) in [("cpu", "cpu"), ("once", "wgpu"), ("again", "wgpu")] {
        setup.quick(&[&RUN[..], &["-o", folder, "--device", device]].concat());
    }
    assert_ne!(setup.json("once/report.json")["device"], "cpu");
    for file in ["sample-000.png", "sample-001.png", "posterior.safetensors"] {
        assert!(setup.bytes(&format!("once/{file}")) == setup.bytes(&format!("again/{file}")), "{file}");
    }
    for file in ["sample-000.png", "sample-001.png"] {
        let pixels =
            |folder: &str| image::load_from_memory(&setup.bytes(&format!("{folder}/{file}"))).unwrap().to_luma8();
        let (here, there) = (pixels("cpu"), pixels("once"));
        // Sums in another order, amplified by some dozen steps, stay far below a level of 8 bits; rounding may make it one.
        let most = here.as_raw().iter().zip(there.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(most <= Some(2), "{file}: {most:?} levels");
    }
    // A fit of one device is drawn from on another.
    let said = setup.run(&[
        "sample",
        "--posterior",
        "once/posterior.safetensors",
        "--prior",
        "tiny.safetensors",
        "-n",
        "2",
        "-o",
        "drawn",
        "--device",
        "wgpu",
    ]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(setup.bytes("drawn/sample-001.png") == setup.bytes("once/sample-001.png"));
}

#[test]
fn what_has_no_other_device_says_so() {
    let setup = Setup::new();
    let fails = |arguments: &[&str], code: i32, part: &str| {
        let said = setup.run(arguments);
        assert_eq!(said.code, Some(code), "{}", said.stderr);
        assert!(said.stderr.contains("--device") && said.stderr.contains(part), "{}", said.stderr);
    };
    fails(&["prior", "list", "--device", "wgpu"], 2, "leave it out");
    fails(&["train", "recipe.toml", "--device", "wgpu"], 2, "leave it out");
    fails(&["prior", "list", "--device", "wgpu:one"], 2, "numbered");
    fails(&[&RUN[..], &["--device", "wgpu:99"]].concat(), 4, "wgpu:99");
    if is_there(&setup) {
        fails(&[&RUN[..], &["--prior", "exec:true", "--device", "wgpu"]].concat(), 2, "external program");
    }
}

#[test]
fn the_kernels_can_be_chosen() {
    let setup = Setup::new();
    let run = |kernels: &str| setup.command(&["prior", "list"]).env("VIPAINT_KERNELS", kernels).output().unwrap();
    assert!(run("portable").status.success());
    let wrong = run("mmx");
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert_eq!(wrong.status.code(), Some(2), "{said}");
    assert!(said.contains("VIPAINT_KERNELS") && said.contains("mmx") && said.contains("avx2"), "{said}");
}
