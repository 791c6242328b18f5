//! A folder with a tiny prior, pictures and masks, and the binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use burn::tensor::Device;
use image::{DynamicImage, GrayImage};
use serde_json::Value;
use tempfile::TempDir;
use vipaint_core::Schedule;
use vipaint_nn::layers::weights;
use vipaint_zoo::unet::Config;
use vipaint_zoo::{Family, HEADER_FORMAT, Header, Parameterization};

/// Side of the tiny prior's pictures.
pub const SIDE: u32 = 8;

/// Settings that make a run take a moment.
pub const QUICK: [&str; 12] = [
    "--set",
    "iterations=3",
    "--set",
    "mc_samples=2",
    "--set",
    "grid_steps=4",
    "--set",
    "refine_steps=3",
    "--set",
    "init_samples=2",
    "--set",
    "init_steps=5",
];

/// What a run of the binary said.
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A folder to work in.
pub struct Setup {
    folder: TempDir,
}

impl Setup {
    pub fn new() -> Self {
        let setup = Self { folder: TempDir::new().unwrap() };
        std::fs::write(setup.path("tiny.safetensors"), prior("tiny", 0.37)).unwrap();
        let picture = GrayImage::from_fn(SIDE, SIDE, |x, y| image::Luma([(x * 29 + y * 3) as u8]));
        setup.save("picture.png", &picture.into());
        setup.save("mask.png", &half(SIDE, SIDE));
        setup
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn save(&self, name: &str, image: &DynamicImage) -> PathBuf {
        image.save(self.path(name)).unwrap();
        self.path(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).unwrap()
    }

    /// The binary, to be run in the folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vipaint"));
        command.args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary in the folder.
    pub fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        Said {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs it with the tiny prior and quick settings; it must succeed.
    pub fn quick(&self, arguments: &[&str]) -> Said {
        let said = self.run(&[arguments, &["--prior", "tiny.safetensors"], &QUICK].concat());
        ok(&said);
        said
    }
}

/// It succeeded.
pub fn ok(said: &Said) {
    assert_eq!(said.code, Some(0), "{}", said.stderr);
}

/// A mask that hides the right half.
pub fn half(width: u32, height: u32) -> DynamicImage {
    GrayImage::from_fn(width, height, |x, _| image::Luma([if x < width / 2 { 255 } else { 0 }])).into()
}

/// A prior file of a tiny network with made-up weights.
pub fn prior(name: &str, frequency: f32) -> Vec<u8> {
    let network = Config {
        channels: 1,
        size: SIDE as usize,
        patch: 2,
        widths: vec![8, 8],
        blocks: vec![1, 1],
        attention: vec![1],
        head_width: 8,
        group_width: 4,
        embedding: 8,
        time_scale: 16.0,
        classes: 2,
        context: 0,
    };
    let header = Header {
        format: HEADER_FORMAT,
        name: name.into(),
        network: Family::Unet(network.clone()),
        schedule: Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 },
        parameterization: Parameterization::Edm { sigma_data: 0.5 },
        data_std: 0.5,
        classes: vec!["cat".into(), "dog".into()],
        value_range: (-1.0, 1.0),
        autoencoder: None,
    };
    let entries = weights::entries(&network.blank(&Device::flex()).unwrap());
    let count: usize = entries.iter().map(weights::Entry::len).sum();
    let values: Vec<f32> = (0..count).map(|i| 0.3 * (i as f32 * frequency).sin()).collect();
    vipaint_zoo::encode(&header, &entries, &values).unwrap()
}

/// Names of the files in a folder that begin with `start`, sorted; none where there is no folder.
pub fn names(folder: &Path, start: &str) -> Vec<String> {
    let files =
        std::fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter(|name| name.starts_with(start)).collect();
    names.sort();
    names
}
