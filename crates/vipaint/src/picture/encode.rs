//! From [`Picture`]s to PNG.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageResult};

use super::{Layout, Picture, Samples};

impl Picture {
    /// The picture as a PNG file, in its own depth and layout, with its colour profile.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn to_png(&self) -> ImageResult<Vec<u8>> {
        let (bytes, colour) = match &self.samples {
            Samples::U8(samples) => (
                samples.clone(),
                match self.layout {
                    Layout::Grey => ExtendedColorType::L8,
                    Layout::GreyAlpha => ExtendedColorType::La8,
                    Layout::Rgb => ExtendedColorType::Rgb8,
                    Layout::Rgba => ExtendedColorType::Rgba8,
                },
            ),
            Samples::U16(samples) => (
                samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect(),
                match self.layout {
                    Layout::Grey => ExtendedColorType::L16,
                    Layout::GreyAlpha => ExtendedColorType::La16,
                    Layout::Rgb => ExtendedColorType::Rgb16,
                    Layout::Rgba => ExtendedColorType::Rgba16,
                },
            ),
        };
        let mut file = Vec::new();
        let mut encoder = PngEncoder::new(&mut file);
        if let Some(icc) = &self.icc {
            // PNG always holds a profile, so that this cannot be refused.
            let _ = encoder.set_icc_profile(icc.clone());
        }
        encoder.write_image(&bytes, self.width as u32, self.height as u32, colour)?;
        Ok(file)
    }
}
