//! Masks that the field compares on (1 = known). Every one is listed once in [`PROTOCOLS`].

use std::f64::consts::PI;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Shape3, strokes};
use crate::noise::stream;

/// A way to hide pixels.
pub struct Protocol {
    /// The name.
    pub name: &'static str,
    /// What is hidden.
    pub about: &'static str,
    /// Which pixels of a plane are known, row by row; random protocols draw from the stream.
    known: fn(&Plane, &mut ChaCha8Rng) -> Vec<bool>,
}

/// A picture's sides.
pub(super) struct Plane {
    pub height: usize,
    pub width: usize,
}

impl Plane {
    /// A value for each pixel, row by row, from its place (y, x).
    pub fn map(&self, mut known: impl FnMut(usize, usize) -> bool) -> Vec<bool> {
        (0..self.height * self.width).map(|i| known(i / self.width, i % self.width)).collect()
    }
}

/// Every protocol.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol {
        name: "half",
        about: "the right half is hidden",
        known: |plane, _| plane.map(|_, x| x < plane.width / 2),
    },
    Protocol {
        name: "box",
        about: "a centred square of half the side is hidden",
        known: |plane, _| plane.map(|y, x| !centred(y, plane.height, 2) || !centred(x, plane.width, 2)),
    },
    Protocol {
        name: "centre",
        about: "all but a centred square of half the side is hidden",
        known: |plane, _| plane.map(|y, x| centred(y, plane.height, 2) && centred(x, plane.width, 2)),
    },
    Protocol {
        name: "expand",
        about: "all but a centred square of a quarter of the side is hidden",
        known: |plane, _| plane.map(|y, x| centred(y, plane.height, 4) && centred(x, plane.width, 4)),
    },
    Protocol {
        name: "rotated",
        about: "one side of a line through the middle, at a random angle, is hidden",
        known: rotated_half,
    },
    Protocol {
        name: "thin",
        about: "thin strokes are hidden (LaMa's setting, scaled)",
        known: |plane, rng| strokes::mask(plane, &strokes::THIN, rng),
    },
    Protocol {
        name: "thick",
        about: "thick strokes and rectangles are hidden (LaMa's setting, scaled)",
        known: |plane, rng| strokes::mask(plane, &strokes::THICK, rng),
    },
    Protocol {
        name: "rectangles",
        about: "random rectangles that cover 30 to 70 % are hidden",
        known: strokes::rectangles,
    },
    Protocol {
        name: "random70",
        about: "70 % of the pixels, at random, are hidden",
        known: |plane, rng| plane.map(|_, _| rng.random::<f64>() >= 0.7),
    },
    Protocol {
        name: "random92",
        about: "92 % of the pixels, at random, are hidden",
        known: |plane, rng| plane.map(|_, _| rng.random::<f64>() >= 0.92),
    },
    Protocol { name: "lines", about: "every other line is hidden", known: |plane, _| plane.map(|y, _| y % 2 == 0) },
    Protocol {
        name: "grid",
        about: "one pixel in four is known (super-resolution by two)",
        known: |plane, _| plane.map(|y, x| y % 2 == 0 && x % 2 == 0),
    },
];

/// Whether position `i` of `n` lies in the centred stretch of length `n / part`, of one pixel at least.
fn centred(i: usize, n: usize, part: usize) -> bool {
    let length = (n / part).max(1);
    let start = (n - length) / 2;
    (start..start + length).contains(&i)
}

/// Known where the pixel's centre lies on one side of a line through the picture's middle.
fn rotated_half(plane: &Plane, rng: &mut ChaCha8Rng) -> Vec<bool> {
    let angle = 2.0 * PI * rng.random::<f64>();
    let (cos, sin) = (angle.cos(), angle.sin());
    let offset = |i: usize, n: usize| i as f64 + 0.5 - n as f64 / 2.0;
    plane.map(|y, x| offset(x, plane.width) * cos + offset(y, plane.height) * sin < 0.0)
}

impl Protocol {
    /// The protocol of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|p| p.name == name)
    }

    /// The mask of a picture, `[channels, height, width]`, the same in all channels.
    pub fn mask(&self, [channels, height, width]: Shape3, seed: u64) -> Vec<f32> {
        let plane = (self.known)(&Plane { height, width }, &mut stream(seed, 1000, 0));
        let plane: Vec<f32> = plane.into_iter().map(|known| f32::from(u8::from(known))).collect();
        plane.repeat(channels)
    }
}
