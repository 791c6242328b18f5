//! Which pixels are known.

use std::path::Path;

use super::decode::{pixels, read};
use super::frame::Rect;
use super::{Layout, Picture, Samples};
use crate::error::{Error, Result};

/// The colour that marks known pixels in a mask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Keep {
    /// White is known, black is hidden.
    #[default]
    White,
    /// Black is known, white is hidden.
    Black,
}

/// Known and hidden pixels of a picture; at least one of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    known: Vec<bool>,
    hidden: usize,
    hole: Rect,
    warnings: Vec<String>,
}

/// The share hidden from which on a mask may have been meant the other way round.
const DOUBTFUL: f64 = 0.7;

impl Mask {
    /// Reads a mask from a picture file.
    ///
    /// # Errors
    /// [`Error::Input`] when it cannot be read, hides nothing or hides everything.
    pub fn open(path: &Path, keep: Keep) -> Result<Self> {
        Self::decode(&read(path)?, &path.display().to_string(), keep)
    }

    /// The mask in the bytes of a picture file: values from the middle of the range up are white, the others black.
    ///
    /// # Errors
    /// [`Error::Input`] when it is not a picture, hides nothing or hides everything.
    pub fn decode(bytes: &[u8], name: &str, keep: Keep) -> Result<Self> {
        let picture = pixels(bytes).map_err(|(problem, remedy)| Error::input(name, problem, remedy))?;
        if !picture.is_opaque() {
            let remedy = "paint it in opaque white (known) and black (hidden)";
            return Err(Error::input(name, "is a mask that is partly transparent", remedy));
        }
        let mut between = 0;
        let mut known = Vec::with_capacity(picture.width * picture.height);
        for y in 0..picture.height {
            for x in 0..picture.width {
                let value = (0..3).map(|channel| picture.unit(x, y, channel)).sum::<f32>() / 3.0;
                between += usize::from(value > 0.0 && value < 1.0);
                known.push((value * 255.0 >= 127.5) == (keep == Keep::White));
            }
        }
        let total = known.len();
        let mut mask = Self::new(picture.width, picture.height, known).ok_or_else(|| {
            let (white, black) = match keep {
                Keep::White => ("known", "hidden"),
                Keep::Black => ("hidden", "known"),
            };
            let hides = if picture.unit(0, 0, 0) >= 0.5 { white } else { black };
            let problem = format!("says that every pixel is {hides} (white means {white})");
            Error::input(
                name,
                problem,
                "paint the hole in black and the rest in white, or the reverse with --mask-keep black",
            )
        })?;
        if between > 0 {
            let share = 100.0 * between as f64 / total as f64;
            mask.warnings.push(format!(
                "{name}: {share:.2} % of the mask is neither black nor white; values from 128 up are taken for white"
            ));
        }
        if mask.hidden_share() >= DOUBTFUL {
            let other = if keep == Keep::White { "black" } else { "white" };
            mask.warnings.push(format!(
                "{name}: {:.1} % of the picture is hidden; if that is the wrong way round, use --mask-keep {other}",
                100.0 * mask.hidden_share()
            ));
        }
        Ok(mask)
    }

    /// A mask from one value a pixel, row by row; `None` if their number is wrong, or all are alike.
    pub fn new(width: usize, height: usize, known: Vec<bool>) -> Option<Self> {
        let hidden = known.iter().filter(|known| !**known).count();
        (known.len() == width * height && hidden > 0 && hidden < known.len()).then(|| {
            let hole = hole(&known, width, height);
            Self { width, height, known, hidden, hole, warnings: Vec::new() }
        })
    }

    /// The mask as a PNG file, white where known.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn to_png(&self) -> image::ImageResult<Vec<u8>> {
        let samples = Samples::U8(self.known.iter().map(|known| if *known { u8::MAX } else { 0 }).collect());
        let (width, height, layout) = (self.width, self.height, Layout::Grey);
        Picture { width, height, layout, samples, icc: None }.to_png()
    }

    /// Checks that the mask fits a picture.
    ///
    /// # Errors
    /// [`Error::Input`] when it has another size.
    pub fn check(&self, picture: &Picture, name: &str) -> Result<()> {
        if (self.width, self.height) == (picture.width(), picture.height()) {
            return Ok(());
        }
        let problem = format!(
            "is {}x{}, but the picture is {}x{}{}",
            self.width,
            self.height,
            picture.width(),
            picture.height(),
            if (self.height, self.width) == (picture.width(), picture.height()) {
                " (after its EXIF orientation is applied)"
            } else {
                ""
            }
        );
        Err(Error::input(name, problem, "make a mask of the picture's size"))
    }

    /// Whether a pixel is known.
    pub fn known(&self, x: usize, y: usize) -> bool {
        self.known[y * self.width + x]
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The share of the pixels that is hidden, in (0, 1).
    pub fn hidden_share(&self) -> f64 {
        self.hidden as f64 / self.known.len() as f64
    }

    /// What a user should hear about this mask.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The smallest rectangle that holds every hidden pixel.
    pub(super) fn hole(&self) -> Rect {
        self.hole
    }
}

fn hole(known: &[bool], width: usize, height: usize) -> Rect {
    let (mut left, mut top, mut right, mut bottom) = (width, height, 0, 0);
    for (index, _) in known.iter().enumerate().filter(|(_, known)| !**known) {
        let (x, y) = (index % width, index / width);
        (left, right) = (left.min(x), right.max(x + 1));
        (top, bottom) = (top.min(y), bottom.max(y + 1));
    }
    Rect { x: left, y: top, width: right - left, height: bottom - top }
}
