//! Held-out pictures with their classes, and their judge, for benchmarks of the embedded priors.

use std::io::Read;

use flate2::read::GzDecoder;
use vipaint_eval::classifier::Classifier;

use crate::error::{Error, Result};

/// Pictures that an embedded prior has not been trained on.
pub struct HeldOut {
    /// The prior's name.
    pub prior: &'static str,
    images: &'static [u8],
    labels: &'static [u8],
    judge: &'static [u8],
    /// Black border that brings the pictures to the prior's size.
    border: usize,
}

/// Values of a picture `[channels, height, width]`, with its class if that is known.
pub type Picture = (Vec<f32>, Option<usize>);

/// Up to `most` pictures of each class after the first `skip` of it, ordered by class.
pub fn of_each_class(mut pictures: Vec<Picture>, skip: usize, most: usize) -> Vec<Picture> {
    pictures.sort_by_key(|(_, class)| *class);
    let mut seen = std::collections::HashMap::new();
    pictures.retain(|(_, class)| {
        let count = seen.entry(*class).or_insert(0);
        *count += 1;
        (skip + 1..=skip + most).contains(count)
    });
    pictures
}

/// The set of each embedded prior.
pub const HELD_OUT: &[HeldOut] = &[HeldOut {
    prior: "fashion",
    images: include_bytes!("../../../priors/fashion/held-out-images.idx.gz"),
    labels: include_bytes!("../../../priors/fashion/held-out-labels.idx.gz"),
    judge: include_bytes!("../../../priors/fashion/classifier.safetensors"),
    border: 2,
}];

impl HeldOut {
    /// The set of a prior.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none.
    pub fn of(prior: &str) -> Result<&'static Self> {
        HELD_OUT.iter().find(|set| set.prior == prior).ok_or_else(|| {
            let known: Vec<_> = HELD_OUT.iter().map(|set| set.prior).collect();
            let problem = format!("no held-out pictures are known for {prior:?}");
            Error::usage("--prior", problem, format!("take one of: {}", known.join(", ")))
        })
    }

    /// The pictures: values in [-1, 1], `[1, side, side]`, with the class.
    ///
    /// # Errors
    /// [`Error::Input`] when the embedded set is damaged.
    pub fn pictures(&self) -> Result<Vec<Picture>> {
        let (sizes, pixels) = idx(self.images, 3)?;
        let (_, labels) = idx(self.labels, 1)?;
        let (height, width) = (sizes[1], sizes[2]);
        let (b, side) = (self.border, width + 2 * self.border);
        let mut pictures = Vec::new();
        for (pixels, label) in pixels.chunks_exact(height * width).zip(labels) {
            let mut picture = vec![-1.0; (height + 2 * b) * side];
            for (y, row) in pixels.chunks_exact(width).enumerate() {
                for (x, pixel) in row.iter().enumerate() {
                    picture[(y + b) * side + x + b] = f32::from(*pixel) / 127.5 - 1.0;
                }
            }
            pictures.push((picture, Some(usize::from(label))));
        }
        Ok(pictures)
    }

    /// The classifier that judges completions.
    ///
    /// # Errors
    /// [`Error::Input`] when it is damaged.
    pub fn judge(&self) -> Result<Classifier> {
        Classifier::from_bytes(self.judge).map_err(|error| damaged(&error.to_string()))
    }
}

fn damaged(problem: &str) -> Error {
    Error::input("held-out pictures", format!("the embedded set is damaged ({problem})"), "build the program again")
}

/// The sizes and bytes of a compressed IDX file.
pub(crate) fn idx(bytes: &[u8], dimensions: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let mut content = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut content).map_err(|error| damaged(&error.to_string()))?;
    let header = 4 + 4 * dimensions;
    if content.len() < header {
        return Err(damaged("too short"));
    }
    let sizes = content[4..header].chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize);
    Ok((sizes.collect(), content[header..].to_vec()))
}
