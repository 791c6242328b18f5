//! A folder of class folders of pictures.

use std::path::{Path, PathBuf};

use image::DynamicImage;
use image::imageops::FilterType;

use super::{DataSet, Images};
use crate::{Error, Result};

const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

pub(super) fn load(path: &Path, held_out: usize, shape: [usize; 3]) -> Result<DataSet> {
    let empty = || Images { shape, ..Images::default() };
    let (mut train, mut test, mut classes) = (empty(), empty(), Vec::new());
    for folder in list(path)?.into_iter().filter(|p| p.is_dir()) {
        let label = classes.len();
        classes.push(folder.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let pictures = list(&folder)?.into_iter().filter(|p| is_picture(p));
        for (i, file) in pictures.enumerate() {
            let set = if i % held_out == held_out - 1 { &mut test } else { &mut train };
            set.bytes.extend(read(&file, shape)?);
            set.labels.push(label);
        }
    }
    if train.is_empty() || test.is_empty() {
        let problem = format!("needs class folders with pictures, at least {held_out} in one of them");
        return Err(Error::data(path, problem));
    }
    Ok(DataSet { train, test, classes, attributes: Vec::new() })
}

pub(super) fn is_picture(path: &Path) -> bool {
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).map_err(Error::io(path))?;
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(Error::io(path))?;
    paths.sort();
    Ok(paths)
}

/// The central square of a picture, resized, as planes.
pub(super) fn read(path: &Path, [channels, height, width]: [usize; 3]) -> Result<Vec<u8>> {
    let picture = image::open(path).map_err(|e| Error::data(path, e.to_string()))?;
    let side = picture.width().min(picture.height());
    let (x, y) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let square = picture.crop_imm(x, y, side, side).resize_exact(width as u32, height as u32, FilterType::Lanczos3);
    match channels {
        1 => Ok(square.into_luma8().into_raw()),
        3 => Ok(planes(&square)),
        other => Err(Error::data(path, format!("folders give 1 or 3 channels, the network has {other}"))),
    }
}

fn planes(picture: &DynamicImage) -> Vec<u8> {
    let rgb = picture.to_rgb8().into_raw();
    (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).copied().collect::<Vec<_>>()).collect()
}
