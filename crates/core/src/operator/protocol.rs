//! Masks that the field compares on (1 = known). Every one is listed once in [`PROTOCOLS`].

use rand::RngExt;

use super::Shape3;
use crate::noise::stream;

/// A way to hide pixels.
pub struct Protocol {
    /// The name.
    pub name: &'static str,
    /// What is hidden.
    pub about: &'static str,
    /// Which pixels of a `[height, width]` picture are known; random protocols depend on the seed.
    known: fn(y: usize, x: usize, height: usize, width: usize, u: f64) -> bool,
}

/// Every protocol.
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "half", about: "the right half is hidden", known: |_, x, _, width, _| x < width / 2 },
    Protocol {
        name: "box",
        about: "a centred square of half the side is hidden",
        known: |y, x, height, width, _| !centred(y, height, 2) || !centred(x, width, 2),
    },
    Protocol {
        name: "centre",
        about: "all but a centred square of half the side is hidden",
        known: |y, x, height, width, _| centred(y, height, 2) && centred(x, width, 2),
    },
    Protocol { name: "random70", about: "70 % of the pixels, at random, are hidden", known: |_, _, _, _, u| u >= 0.7 },
    Protocol { name: "random92", about: "92 % of the pixels, at random, are hidden", known: |_, _, _, _, u| u >= 0.92 },
    Protocol { name: "lines", about: "every other line is hidden", known: |y, _, _, _, _| y % 2 == 0 },
    Protocol {
        name: "grid",
        about: "one pixel in four is known (super-resolution by two)",
        known: |y, x, _, _, _| y % 2 == 0 && x % 2 == 0,
    },
];

/// Whether position `i` of `n` lies in the centred stretch of length `n / part`.
fn centred(i: usize, n: usize, part: usize) -> bool {
    let length = n / part;
    let start = (n - length) / 2;
    (start..start + length).contains(&i)
}

impl Protocol {
    /// The protocol of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        PROTOCOLS.iter().find(|p| p.name == name)
    }

    /// The mask of a picture, `[channels, height, width]`, the same in all channels.
    pub fn mask(&self, [channels, height, width]: Shape3, seed: u64) -> Vec<f32> {
        let mut rng = stream(seed, 1000, 0);
        let mut plane = Vec::with_capacity(height * width);
        for y in 0..height {
            for x in 0..width {
                plane.push(f32::from((self.known)(y, x, height, width, rng.random())));
            }
        }
        plane.repeat(channels)
    }
}
