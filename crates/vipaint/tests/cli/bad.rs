//! Bad input: the exit code and the message, and nothing written.

use image::{DynamicImage, GrayAlphaImage, GrayImage, Luma, LumaA};

use crate::setup::{Said, Setup, names, prior};

/// Runs `inpaint` with the tiny prior, and some arguments more.
fn inpaint(setup: &Setup, picture: &str, mask: &str, more: &[&str]) -> Said {
    let arguments = ["inpaint", picture, "--mask", mask, "--prior", "tiny.safetensors", "-o", "out"];
    setup.run(&[&arguments[..], &crate::setup::QUICK, more].concat())
}

#[track_caller]
fn fails(said: &Said, code: i32, parts: &[&str]) {
    assert_eq!(said.code, Some(code), "{}", said.stderr);
    for part in parts {
        assert!(said.stderr.contains(part), "{part:?} is not in: {}", said.stderr);
    }
    assert!(!said.stderr.contains("panicked"), "{}", said.stderr);
    assert_eq!(said.stdout, "");
}

#[test]
fn wrong_options_are_named_with_the_right_ones() {
    let setup = Setup::new();
    let cases: &[(&[&str], &[&str])] = &[
        (&["--method", "vipant"], &["--method", "\"vipant\"", "did you mean \"vipaint\"", "repaint"]),
        (&["--set", "itertions=1"], &["--set itertions", "did you mean \"iterations\"", "lr_mu"]),
        (&["--set", "iterations"], &["--set", "key=value"]),
        (&["--set", "eta=soon"], &["--set eta", "the default is 1"]),
        (&["--set", "eta=2"], &["--set eta", "at most 1"]),
        (&["--set", "keypoints=1,2"], &["keypoints", "noisiest first"]),
        (&["--set", "keypoints=900"], &["keypoints", "900", "not between"]),
        (&["--set", "context=0.5"], &["--set context", "between 1 and 100"]),
        (&["--noise", "gaussian"], &["--noise", "gaussian:0.05"]),
        (&["--noise", "gaussian:-1"], &["--noise", "positive"]),
        (&["--preset", "quick"], &["--preset", "fast"]),
        (&["--mask-keep", "grey"], &["--mask-keep", "white"]),
        (&["-n", "0"], &["-n", "between 1 and", "not 0"]),
        (&["--batch", "0"], &["--batch", "between 1 and"]),
        (&["--threads", "0"], &["--threads", "between 1 and"]),
        #[cfg(not(feature = "vulkan"))]
        (&["--device", "vulkan:1"], &["--device", "cargo feature `vulkan`", "--device cpu"]),
        (&["--device", "cpux"], &["--device", "did you mean cpu"]),
        (&["--class", "bog"], &["--class", "did you mean \"dog\"", "cat"]),
        (&["--class", "2"], &["--class", "cat, dog"]),
        (&["--seed", "-1"], &["--seed"]),
        (&["--wrong"], &["--wrong"]),
    ];
    for (more, parts) in cases {
        fails(&inpaint(&setup, "picture.png", "mask.png", more), 2, parts);
    }
    let said = setup.run(&["inpaint", "picture.png", "--mask", "mask.png", "--prior", "fasion"]);
    fails(&said, 2, &["--prior", "\"fasion\"", "did you mean \"fashion\""]);
    let said = setup.run(&["inpaint", "picture.png", "--mask", "mask.png", "--prior", "."]);
    fails(&said, 2, &["--prior", "folder"]);
    fails(&setup.run(&["demo", "--picture", "bagg"]), 2, &["--picture", "did you mean \"bag\""]);
    fails(&setup.run(&["demo", "--hide", "everything"]), 2, &["--hide", "half"]);
    fails(&setup.run(&["inpaint", "picture.png"]), 2, &["--mask"]);
}

#[test]
fn options_are_checked_before_files() {
    let setup = Setup::new();
    fails(&inpaint(&setup, "missing.png", "missing.png", &["--set", "k=0"]), 2, &["--set k"]);
}

#[test]
fn an_output_folder_that_cannot_be_written_to_is_said_before_the_work() {
    let setup = Setup::new();
    let said = inpaint(&setup, "missing.png", "mask.png", &["-o", "picture.png/out"]);
    // clap refuses an option given twice, so the folder is given alone here.
    assert_eq!(said.code, Some(2));
    let said = setup.run(&["inpaint", "missing.png", "--mask", "mask.png", "-o", "picture.png/out"]);
    fails(&said, 2, &["-o", "picture.png/out", "cannot be written to"]);
    let said = setup.run(&["fit", "missing.png", "--mask", "mask.png", "--posterior", "picture.png/a.safetensors"]);
    fails(&said, 2, &["--posterior", "cannot be written to"]);
    let said = setup.run(&["fit", "missing.png", "--mask", "mask.png", "--posterior", "."]);
    fails(&said, 2, &["--posterior", "is a folder"]);
}

/// The head of a PNG file that says it is of some size.
fn png_of_size(width: u32, height: u32) -> Vec<u8> {
    let mut small = Vec::new();
    let one: DynamicImage = GrayImage::new(1, 1).into();
    one.write_to(&mut std::io::Cursor::new(&mut small), image::ImageFormat::Png).unwrap();
    small[16..20].copy_from_slice(&width.to_be_bytes());
    small[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc(&small[12..29]);
    small[29..33].copy_from_slice(&crc.to_be_bytes());
    small
}

fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (0..8).fold(crc, |c, _| if c & 1 == 1 { 0xedb88320 ^ (c >> 1) } else { c >> 1 });
    !bytes.iter().fold(!0, |crc, byte| step((crc ^ u32::from(*byte)) & 0xff) ^ (crc >> 8))
}

/// A file's name, its bytes, and what is said about it.
type Case = (&'static str, Option<Vec<u8>>, &'static [&'static str]);

#[test]
fn pictures_that_cannot_be_used_are_refused() {
    let setup = Setup::new();
    let png = setup.bytes("picture.png");
    let mut noisy = GrayImage::new(64, 64);
    noisy.enumerate_pixels_mut().for_each(|(x, y, pixel)| *pixel = Luma([(x * x * 7 + y * 31) as u8]));
    setup.save("whole.jpg", &noisy.into());
    let jpeg = setup.bytes("whole.jpg");
    std::fs::create_dir(setup.path("folder.png")).unwrap();
    let cases: &[Case] = &[
        ("missing.png", None, &["cannot be read", "no such file", "check the path"]),
        ("folder.png", None, &["is not a file"]),
        ("empty.png", Some(Vec::new()), &["is empty"]),
        ("text.png", Some(b"hello, world".to_vec()), &["is not a picture", "PNG, JPEG or WebP"]),
        ("gif.png", Some(b"GIF89a\x01\0\x01\0\0\0\0".to_vec()), &["gif", "PNG, JPEG or WebP"]),
        ("cut.png", Some(png[..png.len() - 30].to_vec()), &["cannot be decoded", "damaged"]),
        ("head.png", Some(png[..20].to_vec()), &["damaged"]),
        ("cut.jpg", Some(jpeg[..jpeg.len() / 2].to_vec()), &["ends early", "damaged"]),
        ("zero.png", Some(png_of_size(0, 8)), &["damaged"]),
        ("huge.png", Some(png_of_size(100_000, 100_000)), &["too large", "smaller"]),
        ("area.png", Some(png_of_size(30_000, 30_000)), &["too large", "64 megapixels"]),
    ];
    for (name, bytes, parts) in cases {
        if let Some(bytes) = bytes {
            setup.write(name, bytes);
        }
        let parts: Vec<&str> = [&[*name][..], parts].concat();
        fails(&inpaint(&setup, name, "mask.png", &[]), 3, &parts);
        fails(&inpaint(&setup, "picture.png", name, &[]), 3, &parts);
    }
    assert_eq!(names(&setup.path("out"), ""), [""; 0]);
}

#[test]
fn transparency_is_refused() {
    let setup = Setup::new();
    let mut picture = GrayAlphaImage::from_pixel(8, 8, LumaA([90, 255]));
    picture.put_pixel(3, 3, LumaA([90, 254]));
    setup.save("clear.png", &picture.into());
    fails(&inpaint(&setup, "clear.png", "mask.png", &[]), 3, &["clear.png", "transparent", "background"]);
    fails(&inpaint(&setup, "picture.png", "clear.png", &[]), 3, &["clear.png", "mask", "transparent", "opaque"]);
}

#[test]
fn masks_must_fit_hide_something_and_leave_something() {
    let setup = Setup::new();
    let mask = |name: &str, width: u32, value: u8| {
        setup.save(name, &GrayImage::from_pixel(width, 8, Luma([value])).into());
    };
    mask("wide.png", 9, 0);
    mask("white.png", 8, 255);
    mask("black.png", 8, 0);
    setup.save("wide.png", &crate::setup::half(9, 8));
    fails(&inpaint(&setup, "picture.png", "wide.png", &[]), 3, &["wide.png", "9x8", "8x8"]);
    fails(&inpaint(&setup, "picture.png", "white.png", &[]), 3, &["every pixel is known", "--mask-keep black"]);
    fails(&inpaint(&setup, "picture.png", "black.png", &[]), 3, &["every pixel is hidden"]);
    let keep = ["--mask-keep", "black"];
    fails(&inpaint(&setup, "picture.png", "white.png", &keep), 3, &["every pixel is hidden"]);
}

#[test]
fn doubtful_masks_are_warned_about() {
    let setup = Setup::new();
    setup.save("grey.png", &GrayImage::from_fn(8, 8, |x, _| Luma([(x * 36) as u8])).into());
    let said = inpaint(&setup, "picture.png", "grey.png", &[]);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stderr.contains("warning: grey.png: 87.50 % of the mask is neither black nor white"),
        "{}",
        said.stderr
    );
    setup.save("most.png", &GrayImage::from_fn(8, 8, |x, _| Luma([if x == 0 { 255 } else { 0 }])).into());
    let said = inpaint(&setup, "picture.png", "most.png", &[]);
    assert!(said.stderr.contains("87.5 % of the picture is hidden; if that is the wrong way round"), "{}", said.stderr);
}

#[test]
fn damaged_priors_and_posteriors_are_refused() {
    let setup = Setup::new();
    let good = setup.bytes("tiny.safetensors");
    setup.write("cut.safetensors", &good[..good.len() / 2]);
    setup.write("text.safetensors", b"not a prior at all");
    for name in ["cut.safetensors", "text.safetensors"] {
        let said = setup.run(&["inpaint", "picture.png", "--mask", "mask.png", "--prior", name, "-o", "out"]);
        fails(&said, 3, &[name, "safetensors"]);
        fails(&setup.run(&["sample", "--posterior", name, "-o", "out"]), 3, &[name, "vipaint fit"]);
        fails(&setup.run(&["prior", "info", name]), 3, &[name]);
    }
    fails(&setup.run(&["sample", "--posterior", "tiny.safetensors", "-o", "out"]), 3, &["not made by `vipaint fit`"]);
    fails(&setup.run(&["sample", "--posterior", "missing", "-o", "out"]), 3, &["missing", "cannot be read"]);

    setup.quick(&["fit", "picture.png", "--mask", "mask.png", "--posterior", "p.safetensors"]);
    fails(&setup.run(&["sample", "--posterior", "p.safetensors", "-o", "out"]), 3, &["prior tiny", "--prior"]);
    setup.write("other.safetensors", &prior("tiny", 0.41));
    let said = setup.run(&["sample", "--posterior", "p.safetensors", "--prior", "other.safetensors", "-o", "out"]);
    fails(&said, 3, &["p.safetensors", "fitted under prior tiny"]);
    let bytes = setup.bytes("p.safetensors");
    setup.write("cut.safetensors", &bytes[..bytes.len() - 9]);
    fails(&setup.run(&["sample", "--posterior", "cut.safetensors", "-o", "out"]), 3, &["cut.safetensors"]);
    assert_eq!(names(&setup.path("out"), ""), [""; 0]);
}

#[test]
fn a_method_without_a_posterior_cannot_be_fitted() {
    let setup = Setup::new();
    let arguments = ["fit", "picture.png", "--mask", "mask.png", "--prior", "tiny.safetensors", "--method", "dps"];
    fails(&setup.run(&[&arguments[..], &["--posterior", "p.safetensors"]].concat()), 2, &["--method", "use vipaint"]);
    assert!(!setup.path("p.safetensors").exists());
}

/// A limit on the size of files stands for a full disk: writing fails in the middle of a file. Files before it are whole, the
/// one that failed is not there in part, and what an earlier run wrote under its name is as it was.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_nothing_half_written() {
    let setup = Setup::new();
    setup.quick(&["inpaint", "picture.png", "--mask", "mask.png", "-n", "2", "-o", "out"]);
    let before: Vec<_> =
        names(&setup.path("out"), "").into_iter().map(|name| setup.bytes(&format!("out/{name}"))).collect();
    // Blocks of 512 bytes: less than any of the files but the samples has. Beyond it a write fails instead of ending the process.
    let limited = r#"trap "" XFSZ; ulimit -f 1; exec "$0" "$@""#;
    let arguments = ["inpaint", "picture.png", "--mask", "mask.png", "--prior", "tiny.safetensors", "--seed", "1"];
    let arguments = [&arguments[..], &["-n", "2", "-o", "out"], &crate::setup::QUICK].concat();
    let plain = setup.command(&arguments);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", limited]).arg(plain.get_program()).args(&arguments).current_dir(setup.path(""));
    let output = shell.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("out/posterior.safetensors: cannot be written"), "{stderr}");
    let after: Vec<_> =
        names(&setup.path("out"), "").into_iter().map(|name| setup.bytes(&format!("out/{name}"))).collect();
    assert!(before == after);
}

#[test]
fn a_fit_that_memory_cannot_hold_is_refused() {
    let setup = Setup::new();
    let arguments = ["inpaint", "picture.png", "--mask", "mask.png", "--prior", "tiny.safetensors", "-o", "out"];
    fails(&setup.run(&[&arguments[..], &["--memory", "0.00001"]].concat()), 4, &["memory", "--memory"]);
    let said = setup.run(&[&arguments[..], &["--set", "mc_samples=1000000000"]].concat());
    fails(&said, 2, &["mc_samples", "at most 100000"]);
}
