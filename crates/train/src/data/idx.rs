//! The IDX format of MNIST and Fashion-MNIST: big-endian `[0, 0, type, dimensions]`, sizes, then bytes.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;

use super::Images;
use crate::{Error, Result};

/// More than any file meant for this trainer holds; a lying header is refused before memory is asked for.
const MAX_BYTES: u64 = 4 << 30;
const UNSIGNED_BYTE: u8 = 8;

pub(super) fn load(images: &Path, labels: &Path, classes: usize) -> Result<Images> {
    let ([n, h, w], bytes) = read_images(images)?;
    let labels_read = read_labels(labels)?;
    if labels_read.len() != n {
        return Err(Error::data(labels, format!("has {} labels for {n} pictures", labels_read.len())));
    }
    if let Some(label) = labels_read.iter().find(|l| usize::from(**l) >= classes) {
        return Err(Error::data(labels, format!("has label {label}, but the recipe names {classes} classes")));
    }
    let labels = labels_read.into_iter().map(usize::from).collect();
    Ok(Images { shape: [1, h, w], bytes, labels, ..Images::default() })
}

/// Pictures of an IDX file with four dimensions: `[count, channels, height, width]` and their bytes.
pub(super) fn read_planes(path: &Path) -> Result<([usize; 4], Vec<u8>)> {
    let (sizes, bytes) = read(path, 4)?;
    Ok(([sizes[0], sizes[1], sizes[2], sizes[3]], bytes))
}

/// Pictures of an IDX file with three dimensions: `[count, height, width]` and their bytes.
///
/// # Errors
/// [`Error::Data`] for anything but a complete file of unsigned bytes with at least one pixel, [`Error::Io`] if it
/// cannot be read.
pub fn read_images(path: &Path) -> Result<([usize; 3], Vec<u8>)> {
    let (sizes, bytes) = read(path, 3)?;
    Ok(([sizes[0], sizes[1], sizes[2]], bytes))
}

/// Labels of an IDX file with one dimension.
///
/// # Errors
/// As [`read_images`].
pub fn read_labels(path: &Path) -> Result<Vec<u8>> {
    Ok(read(path, 1)?.1)
}

fn read(path: &Path, dimensions: usize) -> Result<(Vec<usize>, Vec<u8>)> {
    let file = BufReader::new(File::open(path).map_err(Error::io(path))?);
    let gz = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
    let mut reader: Box<dyn Read> = if gz { Box::new(GzDecoder::new(file)) } else { Box::new(file) };

    let truncated = |_| Error::data(path, "is truncated or not an IDX file");
    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(truncated)?;
    if magic != [0, 0, UNSIGNED_BYTE, dimensions as u8] {
        let problem = format!("is not an IDX file of unsigned bytes with {dimensions} dimension(s)");
        return Err(Error::data(path, problem));
    }
    let mut sizes = Vec::new();
    for _ in 0..dimensions {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(truncated)?;
        sizes.push(u32::from_be_bytes(size));
    }
    let total = sizes.iter().try_fold(1u64, |n, s| n.checked_mul(u64::from(*s)));
    let total = match total {
        Some(n) if (1..=MAX_BYTES).contains(&n) => n,
        _ => return Err(Error::data(path, format!("claims sizes {sizes:?}; 1 byte to 4 GiB are supported"))),
    };
    // Grows with what the file really holds, whatever its header claims.
    let mut bytes = Vec::new();
    let read = reader.by_ref().take(total + 1).read_to_end(&mut bytes).map_err(truncated)?;
    if read as u64 != total {
        return Err(Error::data(path, format!("should hold {total} values after its header, and does not")));
    }
    Ok((sizes.into_iter().map(|s| s as usize).collect(), bytes))
}
