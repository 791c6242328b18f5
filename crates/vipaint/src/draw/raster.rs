//! Pictures as they are shown: 8-bit RGB, enlarged or reduced to a size a person can look at.

use crate::picture::{Mask, Picture};

/// 8-bit RGB pixels, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raster {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// The pixels.
    pub pixels: Vec<[u8; 3]>,
}

/// Small pictures are enlarged as long as their longer side stays below this.
const ENLARGE_TO: usize = 176;
/// Pictures with a longer side are reduced to it.
const REDUCE_TO: usize = 512;

/// Two blues that no grey picture has: the hidden area.
const STRIPES: [[u8; 3]; 2] = [[92, 141, 224], [132, 172, 238]];

impl Raster {
    /// From a function of the pixel's place.
    pub fn from_fn(width: usize, height: usize, f: impl Fn(usize, usize) -> [u8; 3]) -> Self {
        let pixels = (0..width * height).map(|i| f(i % width, i / width)).collect();
        Self { width, height, pixels }
    }

    /// A picture's colours.
    pub fn of(picture: &Picture) -> Self {
        Self::from_fn(picture.width(), picture.height(), |x, y| {
            [0, 1, 2].map(|channel| (picture.unit(x, y, channel) * 255.0).round() as u8)
        })
    }

    /// The pixel at a place.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// At a size to look at: each pixel as a square of some whole number of pixels, or means over areas.
    #[must_use]
    pub fn for_eyes(&self) -> Self {
        let longest = self.width.max(self.height);
        if longest <= REDUCE_TO { self.enlarge((ENLARGE_TO / longest).max(1)) } else { self.reduce(REDUCE_TO) }
    }

    fn enlarge(&self, factor: usize) -> Self {
        Self::from_fn(self.width * factor, self.height * factor, |x, y| self.at(x / factor, y / factor))
    }

    fn reduce(&self, longest: usize) -> Self {
        let scale = longest as f64 / self.width.max(self.height) as f64;
        let size = |n: usize| ((n as f64 * scale).round() as usize).max(1);
        let (width, height) = (size(self.width), size(self.height));
        let cut = |i: usize, n: usize, m: usize| (i * m / n)..((i + 1) * m / n).max(i * m / n + 1);
        Self::from_fn(width, height, |x, y| {
            let mut sums = [0u64; 3];
            let mut count = 0;
            for v in cut(y, height, self.height) {
                for u in cut(x, width, self.width) {
                    self.at(u, v).iter().zip(&mut sums).for_each(|(value, sum)| *sum += u64::from(*value));
                    count += 1;
                }
            }
            sums.map(|sum| (sum as f64 / f64::from(count)).round() as u8)
        })
    }

    /// The picture at a size to look at, with its hidden pixels striped.
    pub fn masked(picture: &Picture, mask: &Mask) -> Self {
        let mut shown = Self::of(picture).for_eyes();
        let (width, height) = (shown.width, shown.height);
        let hidden = |i: usize, n: usize, m: usize| (2 * i + 1) * m / (2 * n);
        for (index, pixel) in shown.pixels.iter_mut().enumerate() {
            let (x, y) = (index % width, index / width);
            if !mask.known(hidden(x, width, mask.width()), hidden(y, height, mask.height())) {
                *pixel = STRIPES[usize::from((x + y) % 12 >= 6)];
            }
        }
        shown
    }
}
