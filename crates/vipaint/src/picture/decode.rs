//! From files to [`Picture`]s.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder, webp::WebPDecoder};
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits};

use super::{Layout, Picture, Samples, profile};
use crate::error::{Error, Result};

/// Longest side that is read.
const MAX_SIDE: u32 = 32_768;
/// Largest area that is read (8192 x 8192).
const MAX_PIXELS: u64 = 1 << 26;
/// Largest file that is read, and the most a decoder may allocate.
const MAX_BYTES: u64 = 1 << 30;

/// What is wrong and what to do; the caller knows the file's name.
type Refusal = (String, &'static str);

const DAMAGED: &str = "the file is damaged: take another copy, or save the picture again";
const CONVERT: &str = "save it as PNG, JPEG or WebP";
const SMALLER: &str = "make it smaller, or cut out the part around the hole";

impl Picture {
    /// Reads a PNG, JPEG or WebP file.
    ///
    /// # Errors
    /// [`Error::Input`] when the file cannot be read or is not a picture that can be worked on.
    pub fn open(path: &Path) -> Result<Self> {
        Self::decode(&read(path)?, &path.display().to_string())
    }

    /// The picture in the bytes of a PNG, JPEG or WebP file; `name` is used in messages.
    ///
    /// The EXIF orientation is applied. Alpha must be opaque. A colour profile must say (nearly) sRGB, or a usual
    /// gamma where there is only grey; it is kept and written to the results.
    ///
    /// # Errors
    /// [`Error::Input`] when the file is not a picture that can be worked on.
    pub fn decode(bytes: &[u8], name: &str) -> Result<Self> {
        let named = |(problem, remedy)| Error::input(name, problem, remedy);
        let picture = pixels(bytes).map_err(named)?;
        opaque(&picture).map_err(named)?;
        if let Some(icc) = &picture.icc {
            let remedy =
                "convert it to sRGB (in ImageMagick: `-profile sRGB.icc`), or strip the profile if it is wrong";
            profile::check(icc, picture.is_grey()).map_err(|problem| Error::input(name, problem, remedy))?;
        }
        Ok(picture)
    }
}

/// The bytes of a regular file of at most 1 GiB.
///
/// # Errors
/// [`Error::Input`] when it cannot be read, is empty or larger.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let unreadable = |error: std::io::Error| Error::unreadable(path, &error);
    let file = File::open(path).map_err(unreadable)?;
    let name = || path.display().to_string();
    if !file.metadata().map_err(unreadable)?.is_file() {
        return Err(Error::input(name(), "is not a file", "give the path of a file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match bytes.len() as u64 {
        0 => Err(Error::input(name(), "is empty", "take another copy")),
        n if n > MAX_BYTES => Err(Error::input(name(), "is larger than 1 GiB", "take a smaller one")),
        _ => Ok(bytes),
    }
}

/// The picture in a file, whatever its alpha and profile.
pub(super) fn pixels(bytes: &[u8]) -> std::result::Result<Picture, Refusal> {
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE), Some(MAX_SIDE));
    limits.max_alloc = Some(MAX_BYTES);
    let animated = || ("is an animation".to_string(), "save the frame that is meant as a picture of its own");
    match image::guess_format(bytes) {
        Ok(ImageFormat::Png) => {
            let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(refuse)?;
            if decoder.is_apng().map_err(refuse)? { Err(animated()) } else { finish(decoder) }
        }
        Ok(ImageFormat::Jpeg) => {
            if !jpeg_is_whole(bytes) {
                return Err(("is a JPEG that ends early".to_string(), DAMAGED));
            }
            let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(refuse)?;
            decoder.set_limits(limits).map_err(refuse)?;
            finish(decoder)
        }
        Ok(ImageFormat::WebP) => {
            let mut decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(refuse)?;
            decoder.set_limits(limits).map_err(refuse)?;
            if decoder.has_animation() { Err(animated()) } else { finish(decoder) }
        }
        Ok(other) => Err((format!("is a {} file, which is not read", other.extensions_str().join("/")), CONVERT)),
        Err(_) => Err(("is not a picture".to_string(), CONVERT)),
    }
}

fn finish(mut decoder: impl ImageDecoder) -> std::result::Result<Picture, Refusal> {
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(("has no pixels".to_string(), DAMAGED));
    }
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err((format!("is too large ({width}x{height}; at most 64 megapixels are read)"), SMALLER));
    }
    // Metadata that cannot be parsed does not make the pixels wrong.
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    let icc = decoder.icc_profile().ok().flatten();
    let mut image = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    image.apply_orientation(orientation);
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (layout, samples) = match image {
        DynamicImage::ImageLuma8(b) => (Layout::Grey, Samples::U8(b.into_raw())),
        DynamicImage::ImageLumaA8(b) => (Layout::GreyAlpha, Samples::U8(b.into_raw())),
        DynamicImage::ImageRgb8(b) => (Layout::Rgb, Samples::U8(b.into_raw())),
        DynamicImage::ImageRgba8(b) => (Layout::Rgba, Samples::U8(b.into_raw())),
        DynamicImage::ImageLuma16(b) => (Layout::Grey, Samples::U16(b.into_raw())),
        DynamicImage::ImageLumaA16(b) => (Layout::GreyAlpha, Samples::U16(b.into_raw())),
        DynamicImage::ImageRgb16(b) => (Layout::Rgb, Samples::U16(b.into_raw())),
        DynamicImage::ImageRgba16(b) => (Layout::Rgba, Samples::U16(b.into_raw())),
        _ => return Err(("has samples that are neither 8 nor 16 bits".to_string(), CONVERT)),
    };
    Ok(Picture { width, height, layout, samples, icc })
}

/// Whether the picture's scan is closed by an end marker; the decoder would fill what is missing with grey.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2; // after the start marker
    while let [0xff, marker, rest @ ..] = &bytes[at.min(bytes.len())..] {
        match (*marker, rest) {
            // Inside a scan, 0xff is followed by 0 or a restart marker, so this is the end of the picture.
            (START_OF_SCAN, _) => return rest.windows(2).any(|pair| pair == [0xff, 0xd9]),
            (0xff, _) => at += 1, // padding
            (_, [high, low, ..]) => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        }
    }
    false
}

fn opaque(picture: &Picture) -> std::result::Result<(), Refusal> {
    if picture.is_opaque() {
        return Ok(());
    }
    let remedy = "lay it on a background first; if transparency marks the hole, save it as a mask (white = known)";
    Err(("is partly transparent, and what a prior would see there is unclear".to_string(), remedy))
}

fn refuse(error: ImageError) -> Refusal {
    match error {
        ImageError::Limits(_) => (format!("is too large (at most {MAX_SIDE} pixels a side, 64 megapixels)"), SMALLER),
        ImageError::Unsupported(error) => (format!("cannot be decoded ({error})"), CONVERT),
        error => (format!("cannot be decoded ({})", error.to_string().trim_end_matches('.')), DAMAGED),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A small picture as a file of each format.
    fn files() -> Vec<Vec<u8>> {
        let picture = image::RgbImage::from_fn(13, 9, |x, y| image::Rgb([(x * 19) as u8, (y * 28) as u8, 90]));
        let formats = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];
        formats
            .map(|format| {
                let mut file = Cursor::new(Vec::new());
                picture.write_to(&mut file, format).expect("memory can be written to");
                file.into_inner()
            })
            .to_vec()
    }

    #[test]
    fn whole_files_are_read() {
        for file in files() {
            assert_eq!(
                Picture::decode(&file, "p").map(|picture| picture.describe()).ok().as_deref(),
                Some("13x9, 8-bit RGB")
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_or_pictures(
            format in 0..3usize, cut in 0.0..1.0f64, changes in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..8),
        ) {
            let mut file = files().swap_remove(format);
            for (place, byte) in changes {
                let at = (place * file.len() as f64) as usize;
                file[at] = byte;
            }
            let _ = Picture::decode(&file, "p");
            file.truncate((cut * file.len() as f64) as usize);
            let _ = Picture::decode(&file, "p");
        }
    }
}
