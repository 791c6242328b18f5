//! Labelled pictures in memory.

mod captioned;
mod folder;
mod idx;
mod pictures;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use captioned::Attribute;
pub use idx::{read_images, read_labels};
pub use pictures::read_pictures;

use crate::{Error, Result};

/// Where pictures come from, and how they become `[-1, 1]` arrays of the network's size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// IDX files (as MNIST's; `.gz` is unpacked), one grey byte a pixel; byte 0 becomes -1, byte 255 becomes 1.
    Idx {
        /// Training pictures.
        images: PathBuf,
        /// Their classes.
        labels: PathBuf,
        /// Held-out pictures.
        test_images: PathBuf,
        /// Their classes.
        test_labels: PathBuf,
        /// Pixels of value -1 added on each side.
        pad: usize,
        /// Class names, in the order of the labels.
        classes: Vec<String>,
    },
    /// A folder with one folder of PNG, JPEG or WebP pictures for each class; names sorted by bytes. Each picture is
    /// cropped to its central square and resized (Lanczos) to the network's size.
    Folder {
        /// The folder.
        path: PathBuf,
        /// Every `held_out`-th picture of a class is held out; at least 2.
        held_out: usize,
    },
    /// IDX files of four dimensions (count, channels, height, width), and for each a file with one JSON object a line:
    /// `{"attributes": {"hair": "short", ...}, "captions": ["a person with short hair", ...]}`.
    Captioned {
        /// Training pictures.
        images: PathBuf,
        /// What is on them.
        captions: PathBuf,
        /// Held-out pictures.
        test_images: PathBuf,
        /// What is on them.
        test_captions: PathBuf,
    },
}

/// Labelled pictures, one byte a value: `x = byte / 127.5 - 1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Images {
    /// `[channels, height, width]` of one picture.
    pub shape: [usize; 3],
    /// All pictures, one after the other.
    pub bytes: Vec<u8>,
    /// The class of each.
    pub labels: Vec<usize>,
    /// Captions of each, at least one; empty where the data have none.
    pub captions: Vec<Vec<String>>,
    /// The value of every attribute of each, as positions in [`Attribute::values`]; empty where the data have none.
    pub attributes: Vec<Vec<usize>>,
}

impl Images {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values of one picture. // [channels * height * width] in [-1, 1]
    pub fn values(&self, i: usize) -> impl Iterator<Item = f32> + '_ {
        let n = self.shape.iter().product::<usize>();
        self.bytes[i * n..(i + 1) * n].iter().map(|b| f32::from(*b) / 127.5 - 1.0)
    }

    /// Mean and standard deviation over all values.
    pub fn moments(&self) -> (f64, f64) {
        let n = self.bytes.len() as f64;
        let (sum, squares) =
            self.bytes.iter().fold((0u64, 0u64), |(s, q), b| (s + u64::from(*b), q + u64::from(*b).pow(2)));
        let mean = sum as f64 / n;
        (mean / 127.5 - 1.0, (squares as f64 / n - mean * mean).max(0.0).sqrt() / 127.5)
    }

    /// Adds `pad` black (0) pixels on each side.
    #[must_use]
    fn padded(&self, pad: usize) -> Self {
        let [c, h, w] = self.shape;
        let (height, width) = (h + 2 * pad, w + 2 * pad);
        let mut bytes = vec![0; self.len() * c * height * width];
        for (to, from) in bytes.chunks_exact_mut(height * width).zip(self.bytes.chunks_exact(h * w)) {
            for (row, pixels) in from.chunks_exact(w).enumerate() {
                let start = (row + pad) * width + pad;
                to[start..start + w].copy_from_slice(pixels);
            }
        }
        Self { shape: [c, height, width], bytes, ..self.clone() }
    }
}

/// Training pictures, held-out pictures, class names.
#[derive(Debug, Clone)]
pub struct DataSet {
    /// For training.
    pub train: Images,
    /// Held out.
    pub test: Images,
    /// Class names.
    pub classes: Vec<String>,
    /// Attributes, if the data have any.
    pub attributes: Vec<Attribute>,
}

impl Source {
    /// Reads everything, as pictures of `shape` `[channels, height, width]`.
    ///
    /// # Errors
    /// [`Error::Data`] and [`Error::Io`] name the file.
    pub fn load(&self, shape: [usize; 3]) -> Result<DataSet> {
        match self {
            Self::Idx { images, labels, test_images, test_labels, pad, classes } => {
                let load = |images: &PathBuf, labels: &PathBuf| {
                    let set = idx::load(images, labels, classes.len())?.padded(*pad);
                    if set.shape != shape {
                        let problem = format!(
                            "pictures are {:?} after padding by {pad}, the network's are {shape:?} (channels, height, width)",
                            set.shape
                        );
                        return Err(Error::data(images, problem));
                    }
                    Ok(set)
                };
                let (train, test) = (load(images, labels)?, load(test_images, test_labels)?);
                Ok(DataSet { train, test, classes: classes.clone(), attributes: Vec::new() })
            }
            Self::Folder { path, held_out } => folder::load(path, *held_out, shape),
            Self::Captioned { images, captions, test_images, test_captions } => {
                captioned::load([images, captions], [test_images, test_captions], shape)
            }
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Self::Idx { pad, .. } if *pad > 512 => Err(Error::recipe("data.pad", "must be at most 512")),
            Self::Folder { held_out, .. } if *held_out < 2 => {
                Err(Error::recipe("data.held_out", "must be at least 2 (every second picture held out)"))
            }
            _ => Ok(()),
        }
    }
}
