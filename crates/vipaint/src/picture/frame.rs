//! Where the prior looks: the square around the hole.

/// A rectangle inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

/// A square of a picture; it may reach beyond the picture's edges, where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub x: isize,
    pub y: isize,
    pub side: usize,
}

/// A picture whose longer side is at least this share of the prior's size is not enlarged, but given a margin.
const MARGIN_INSTEAD: f64 = 0.8;
/// A picture whose longer side is at most this many times the shorter one is taken whole, with a margin.
const NEARLY_SQUARE: f64 = 1.25;
/// The least stretch of the longer side, in lengths of the hole, that is taken of other pictures.
const BESIDE_HOLE: f64 = 1.5;

impl Frame {
    /// The square to work on with a prior of `size` x `size` pixels in a picture of `width` x `height`.
    ///
    /// A picture that fits is taken whole: as it is if it is (nearly) of the prior's size, with a margin of unknown
    /// pixels around it, else enlarged. Of a larger picture the largest square around the `hole` is taken, since priors
    /// know whole pictures; with a `context`, a square about that many times as large as the hole, preferably a multiple of
    /// `size`, which needs no interpolation.
    pub fn around(hole: Rect, width: usize, height: usize, size: usize, context: Option<f64>) -> Self {
        let (longest, shortest) = (width.max(height), width.min(height));
        let side = if longest <= size {
            if longest as f64 >= MARGIN_INSTEAD * size as f64 { size } else { longest }
        } else {
            let along = if width >= height { hole.width } else { hole.height };
            let whole =
                longest as f64 <= NEARLY_SQUARE * shortest as f64 || BESIDE_HOLE * along as f64 > shortest as f64;
            let largest = if whole { longest } else { shortest.max(size) };
            context.map_or(largest, |context| {
                let extent = hole.width.max(hole.height);
                let multiple = (extent as f64 * context / size as f64).round().max(1.0) as usize;
                (multiple.max(extent.div_ceil(size)) * size).min(largest)
            })
        };
        Self { x: place(hole.x, hole.width, side, width), y: place(hole.y, hole.height, side, height), side }
    }

    /// The part of the frame inside a picture of `width` x `height`.
    pub fn inside(&self, width: usize, height: usize) -> Rect {
        let cut = |start: isize, limit: usize| {
            let end = (start + self.side as isize).clamp(0, limit as isize) as usize;
            let start = start.clamp(0, limit as isize) as usize;
            (start, end - start)
        };
        let ((x, width), (y, height)) = (cut(self.x, width), cut(self.y, height));
        Rect { x, y, width, height }
    }
}

/// Start of a stretch of `side` in `0..limit`, centred on the hole, inside if it fits and centred on all if not.
fn place(hole: usize, extent: usize, side: usize, limit: usize) -> isize {
    if side >= limit {
        return -(((side - limit) / 2) as isize);
    }
    let start = (hole + extent / 2) as isize - (side / 2) as isize;
    start.clamp(0, (limit - side) as isize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_picture_a_little_smaller_than_the_prior_gets_a_margin() {
        let hole = Rect { x: 14, y: 0, width: 14, height: 28 };
        assert_eq!(Frame::around(hole, 28, 28, 32, None), Frame { x: -2, y: -2, side: 32 });
    }

    #[test]
    fn of_a_larger_picture_the_largest_square_around_the_hole_is_taken() {
        let hole = Rect { x: 190, y: 3, width: 10, height: 12 };
        assert_eq!(Frame::around(hole, 300, 80, 32, None), Frame { x: 155, y: 0, side: 80 });
        assert_eq!(Frame::around(hole, 300, 260, 32, None), Frame { x: 0, y: -20, side: 300 });
        let wide = Rect { x: 90, y: 3, width: 60, height: 12 };
        assert_eq!(Frame::around(wide, 300, 80, 32, None), Frame { x: 0, y: -110, side: 300 });
    }

    #[test]
    fn with_a_context_a_small_hole_is_not_scaled() {
        let hole = Rect { x: 90, y: 3, width: 10, height: 12 };
        assert_eq!(Frame::around(hole, 100, 80, 32, Some(2.0)), Frame { x: 68, y: 0, side: 32 });
    }

    proptest! {
        #[test]
        fn the_frame_holds_the_hole(
            width in 1usize..300, height in 1usize..300, size in 1usize..100, context in proptest::option::of(1.0..4.0f64),
            corners in (0.0..1.0f64, 0.0..1.0f64, 0.0..1.0f64, 0.0..1.0f64),
        ) {
            let span = |a: f64, b: f64, limit: usize| {
                let (a, b) = ((a * limit as f64) as usize, (b * limit as f64) as usize);
                (a.min(b), a.max(b) - a.min(b) + 1)
            };
            let ((x, hole_width), (y, hole_height)) = (span(corners.0, corners.1, width), span(corners.2, corners.3, height));
            let hole = Rect { x, y, width: hole_width, height: hole_height };
            let inside = Frame::around(hole, width, height, size, context).inside(width, height);
            prop_assert!(inside.x <= x && inside.x + inside.width >= x + hole_width);
            prop_assert!(inside.y <= y && inside.y + inside.height >= y + hole_height);
        }
    }
}
