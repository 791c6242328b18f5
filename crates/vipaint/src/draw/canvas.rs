//! A sheet of pixels to draw on, with an embedded font, since a machine may have none.

use std::sync::OnceLock;

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use plotters::coord::Shift;
use plotters::prelude::{BitMapBackend, Color, DrawingArea, IntoDrawingArea, IntoFont, RGBColor, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, TextStyle, register_font};

use super::Raster;

/// Text and lines.
pub(super) const INK: RGBColor = RGBColor(45, 49, 57);
/// Less important text and lines.
pub(super) const FAINT: RGBColor = RGBColor(128, 134, 145);
/// The sheet.
pub(super) const PAPER: RGBColor = RGBColor(250, 250, 251);

const FONT: &str = "vipaint";

/// Why something could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot be drawn: {0}")]
pub struct DrawError(String);

impl DrawError {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Where a text's anchor is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Align {
    Left,
    Centre,
}

/// 8-bit RGB pixels to draw on.
pub struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Canvas {
    /// An empty sheet.
    pub fn new(width: usize, height: usize) -> Self {
        let RGBColor(r, g, b) = PAPER;
        Self { width, height, rgb: [r, g, b].repeat(width * height) }
    }

    /// Copies a picture onto the sheet; what does not fit is left out.
    pub fn place(&mut self, picture: &Raster, left: usize, top: usize) {
        let width = picture.width.min(self.width.saturating_sub(left));
        for y in 0..picture.height.min(self.height.saturating_sub(top)) {
            let start = ((top + y) * self.width + left) * 3;
            let row = &picture.pixels[y * picture.width..][..width];
            self.rgb[start..start + 3 * width].copy_from_slice(row.as_flattened());
        }
    }

    /// Writes a text; `left` and `top` are its upper corner or the middle of its upper edge.
    pub(super) fn write(
        &mut self,
        text: &str,
        (left, top): (usize, usize),
        size: f64,
        colour: RGBColor,
        align: Align,
    ) -> Result<(), DrawError> {
        let horizontal = match align {
            Align::Left => HPos::Left,
            Align::Centre => HPos::Center,
        };
        let style = font(size, colour)?.pos(Pos::new(horizontal, VPos::Top));
        let text = Text::new(text.to_owned(), (left as i32, top as i32), style);
        self.area().draw(&text).map_err(DrawError::new)
    }

    /// The sheet for plotters.
    pub(super) fn area(&mut self) -> DrawingArea<BitMapBackend<'_>, Shift> {
        let size = (self.width as u32, self.height as u32);
        BitMapBackend::with_buffer(&mut self.rgb, size).into_drawing_area()
    }

    /// The sheet as a PNG file.
    ///
    /// # Errors
    /// When it is too large for a PNG file.
    pub fn to_png(&self) -> Result<Vec<u8>, DrawError> {
        let mut file = Vec::new();
        PngEncoder::new(&mut file)
            .write_image(&self.rgb, self.width as u32, self.height as u32, ExtendedColorType::Rgb8)
            .map_err(DrawError::new)?;
        Ok(file)
    }
}

/// The embedded font.
pub(super) fn font(size: f64, colour: RGBColor) -> Result<TextStyle<'static>, DrawError> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    let registered =
        *REGISTERED.get_or_init(|| register_font(FONT, FontStyle::Normal, epaint_default_fonts::HACK_REGULAR).is_ok());
    if registered {
        Ok((FONT, size).into_font().color(&colour.to_rgba()))
    } else {
        Err(DrawError::new("the embedded font is damaged"))
    }
}
