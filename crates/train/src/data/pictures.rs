//! Pictures to evaluate on: an IDX file with its labels beside it, or a folder.

use std::path::Path;

use super::{Images, folder, idx};
use crate::{Error, Result};

/// Reads pictures of `shape` `[channels, height, width]`, each with its class where that is known.
///
/// A file is an IDX file of images; its labels stand in the file whose name has `labels-idx1` for `images-idx3`, and smaller
/// pictures get an equal border of value -1. A folder holds pictures, or one folder of pictures for each of `classes`; they
/// are cropped to their central square and resized.
///
/// # Errors
/// [`Error::Data`] and [`Error::Io`] name the file.
pub fn read_pictures(path: &Path, shape: [usize; 3], classes: &[String]) -> Result<Vec<(Vec<f32>, Option<usize>)>> {
    if !path.is_dir() {
        let images = from_idx(path, shape, classes)?;
        return Ok((0..images.len()).map(|i| (images.values(i).collect(), Some(images.labels[i]))).collect());
    }
    let mut pictures = Vec::new();
    for entry in folder::list(path)? {
        let (files, class) = if entry.is_dir() {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
            let class = classes.iter().position(|class| class.to_lowercase() == name);
            let unknown = || Error::data(&entry, format!("is no class; the classes are {}", classes.join(", ")));
            (folder::list(&entry)?, Some(class.ok_or_else(unknown)?))
        } else {
            (vec![entry], None)
        };
        for file in files.iter().filter(|file| folder::is_picture(file)) {
            let values = folder::read(file, shape)?.into_iter().map(|byte| f32::from(byte) / 127.5 - 1.0);
            pictures.push((values.collect(), class));
        }
    }
    if pictures.is_empty() {
        return Err(Error::data(path, "holds no PNG, JPEG or WebP pictures"));
    }
    pictures.sort_by_key(|(_, class)| *class);
    Ok(pictures)
}

fn from_idx(path: &Path, shape: [usize; 3], classes: &[String]) -> Result<Images> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let labels = path.with_file_name(name.replace("images-idx3", "labels-idx1"));
    if labels == path {
        return Err(Error::data(path, "is an IDX file whose name has no images-idx3, so its labels cannot be found"));
    }
    let mut images = idx::load(path, &labels, classes.len())?;
    images = images.padded(shape[1].saturating_sub(images.shape[1]) / 2);
    if images.shape != shape {
        let problem = format!("pictures are {:?} (channels, height, width), the prior's are {shape:?}", images.shape);
        return Err(Error::data(path, problem));
    }
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by_key(|i| images.labels[*i]);
    let n = shape.iter().product::<usize>();
    let bytes = order.iter().flat_map(|i| images.bytes[i * n..(i + 1) * n].iter().copied()).collect();
    let labels = order.iter().map(|i| images.labels[*i]).collect();
    Ok(Images { bytes, labels, ..images })
}
