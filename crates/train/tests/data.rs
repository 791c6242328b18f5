//! Data: IDX files and folders, good and bad.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::idx;
use flate2::Compression;
use flate2::write::GzEncoder;
use image::{Rgb, RgbImage};
use vipaint_train::data::{Source, read_images, read_labels};

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn reads_plain_and_packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let pixels: Vec<u8> = (0..12).collect();
    let file = idx(&[2, 3, 2], &pixels);
    for path in [write(folder.path(), "a", &file), write(folder.path(), "a.gz", &gz(&file))] {
        assert_eq!(read_images(&path).unwrap(), ([2, 3, 2], pixels.clone()));
    }
    assert_eq!(read_labels(&write(folder.path(), "l", &idx(&[3], &[4, 5, 6]))).unwrap(), [4, 5, 6]);
}

#[test]
fn refuses_bad_files() {
    let folder = tempfile::tempdir().unwrap();
    let good = idx(&[2, 3, 2], &[7; 12]);
    let cases = [
        ("empty", Vec::new()),
        ("magic", b"\x89PNG and so on".to_vec()),
        ("wrong dimensions", idx(&[12], &[7; 12])),
        ("floats", [&[0, 0, 13, 3], &good[4..]].concat()),
        ("short header", good[..9].to_vec()),
        ("too short", good[..good.len() - 1].to_vec()),
        ("too long", [&good[..], &[1]].concat()),
        ("nothing inside", idx(&[0, 28, 28], &[])),
        ("lies about its size", idx(&[60_000, 200, 200], &[1; 100])),
        ("overflows", idx(&[u32::MAX, u32::MAX, u32::MAX], &[1; 100])),
        ("not gzip.gz", good.clone()),
        ("cut.gz", gz(&good)[..20].to_vec()),
    ];
    for (name, bytes) in cases {
        let path = write(folder.path(), name, &bytes);
        let message = read_images(&path).unwrap_err().to_string();
        assert!(message.contains(name), "{name}: {message}");
    }
    assert!(read_images(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn pads_with_black_and_scales() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path());
    let recipe = common::recipe(folder.path());
    let data = recipe.data.load([1, 8, 8]).unwrap();
    assert_eq!((data.train.len(), data.test.len()), (24, 10));
    let values: Vec<f32> = data.train.values(0).collect();
    assert_eq!(values.len(), 64);
    assert!(values[..8].iter().all(|v| *v == -1.0), "the first row is padding");
    assert_eq!(values[9], 200.0 / 127.5 - 1.0);
    let (mean, std) = data.train.moments();
    let all: Vec<f64> = (0..24).flat_map(|i| data.train.values(i).map(f64::from).collect::<Vec<_>>()).collect();
    let exact_mean = all.iter().sum::<f64>() / all.len() as f64;
    let exact = (all.iter().map(|v| (v - exact_mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
    assert!((mean - exact_mean).abs() < 1e-6 && (std - exact).abs() < 1e-6);
}

#[test]
fn data_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    common::write_data(folder.path());
    let recipe = common::recipe(folder.path());
    let message = |source: &Source, shape| source.load(shape).unwrap_err().to_string();
    assert!(message(&recipe.data, [1, 16, 16]).contains("after padding"));
    std::fs::write(folder.path().join("train-labels"), idx(&[3], &[0, 1, 0])).unwrap();
    assert!(message(&recipe.data, [1, 8, 8]).contains("3 labels for 24 pictures"));
    std::fs::write(folder.path().join("train-labels"), idx(&[24], &[9; 24])).unwrap();
    assert!(message(&recipe.data, [1, 8, 8]).contains("label 9"));
}

#[test]
fn folders_give_classes_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for (class, colour) in [("blue", [0, 0, 255]), ("red", [255, 0, 0])] {
        std::fs::create_dir(folder.path().join(class)).unwrap();
        for i in 0..4 {
            let picture = RgbImage::from_pixel(20, 10 + i, Rgb(colour));
            picture.save(folder.path().join(class).join(format!("{i}.png"))).unwrap();
        }
    }
    let source = Source::Folder { path: folder.path().to_path_buf(), held_out: 4 };
    let data = source.load([3, 8, 8]).unwrap();
    assert_eq!(data.classes, ["blue", "red"]);
    assert_eq!((data.train.len(), data.test.len()), (6, 2));
    let red: Vec<f32> = data.train.values(5).collect();
    assert_eq!(data.train.labels[5], 1);
    assert!(red[..64].iter().all(|v| *v == 1.0) && red[64..].iter().all(|v| *v == -1.0));

    write(&folder.path().join("red"), "broken.png", b"no picture");
    assert!(source.load([3, 8, 8]).unwrap_err().to_string().contains("broken.png"));
    let empty = tempfile::tempdir().unwrap();
    let source = Source::Folder { path: empty.path().to_path_buf(), held_out: 4 };
    assert!(source.load([3, 8, 8]).unwrap_err().to_string().contains("class folders"));
}

/// Four training pictures and two held-out ones of 2x2 in colour, with these lines of captions.
fn captioned(folder: &Path, train: &[&str], test: &[&str]) -> Source {
    let pictures = |count: usize| idx(&[count as u32, 3, 2, 2], &vec![9; count * 12]);
    write(folder, "train.idx", &pictures(4));
    write(folder, "test.idx", &pictures(2));
    Source::Captioned {
        images: folder.join("train.idx"),
        captions: write(folder, "train.jsonl", train.join("\n").as_bytes()),
        test_images: folder.join("test.idx"),
        test_captions: write(folder, "test.jsonl", test.join("\n").as_bytes()),
    }
}

const CAPTIONED: [&str; 4] = [
    r#"{"attributes": {"hair": "long", "eyes": "open"}, "captions": ["long hair", "a person"]}"#,
    r#"{"attributes": {"hair": "bald", "eyes": "open"}, "captions": ["no hair"]}"#,
    r#"{"attributes": {"hair": "long", "eyes": "shut"}, "captions": ["asleep"]}"#,
    r#"{"attributes": {"hair": "bald", "eyes": "shut"}, "captions": ["asleep, no hair"]}"#,
];

#[test]
fn reads_captions_and_attributes() {
    let folder = tempfile::tempdir().unwrap();
    let data = captioned(folder.path(), &CAPTIONED, &CAPTIONED[2..]).load([3, 2, 2]).unwrap();
    let named: Vec<_> = data.attributes.iter().map(|a| (a.name.as_str(), a.values.join(" "))).collect();
    assert_eq!(named, [("eyes", "open shut".to_owned()), ("hair", "bald long".to_owned())]);
    assert_eq!(data.train.attributes, [[0, 1], [0, 0], [1, 1], [1, 0]]);
    assert_eq!(data.test.attributes, [[1, 1], [1, 0]]);
    assert_eq!(data.train.captions[0], ["long hair", "a person"]);
}

#[test]
fn refuses_captions_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let message = |train: &[&str], test: &[&str], shape| {
        captioned(folder.path(), train, test).load(shape).unwrap_err().to_string()
    };
    assert!(message(&CAPTIONED[..3], &CAPTIONED[..2], [3, 2, 2]).contains("3 lines for 4 pictures"));
    assert!(message(&CAPTIONED, &CAPTIONED[..2], [1, 2, 2]).contains("channels, height, width"));
    let unseen = r#"{"attributes": {"hair": "curly", "eyes": "open"}, "captions": ["curls"]}"#;
    assert!(message(&CAPTIONED, &[CAPTIONED[0], unseen], [3, 2, 2]).contains("line 2: its attributes"));
    let more = r#"{"attributes": {"hair": "long", "eyes": "open", "hat": "none"}, "captions": ["x"]}"#;
    assert!(message(&CAPTIONED, &[more, CAPTIONED[0]], [3, 2, 2]).contains("line 1"));
    let silent = r#"{"attributes": {"hair": "long", "eyes": "open"}, "captions": []}"#;
    assert!(
        message(&[CAPTIONED[0], silent, CAPTIONED[2], CAPTIONED[3]], &CAPTIONED[..2], [3, 2, 2]).contains("no caption")
    );
    assert!(message(&CAPTIONED, &["{}", "{}"], [3, 2, 2]).contains("line 1"));
}
