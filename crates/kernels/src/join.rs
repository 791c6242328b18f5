//! Channels of two images side by side.

use crate::parallel::Shared;
use crate::team::parts;

/// Values of a task.
const PIECE: usize = 16 * 1024;

/// Pixels of a task whose pixels have so many values.
fn pixels(channels: usize) -> usize {
    (PIECE / channels).max(1)
}

/// Pixels of `a` values of `x` and then `b` values of `y`.
pub fn join([x, y]: [&[f32]; 2], [a, b]: [usize; 2], to: &mut [f32]) {
    let count = pixels(a + b);
    assert!(x.len().is_multiple_of(a) && y.len() == x.len() / a * b && to.len() == x.len() + y.len(), "pixels of both");
    parts(to, count * (a + b), |i, to| {
        let (x, y) = (x[i * count * a..].chunks_exact(a), y[i * count * b..].chunks_exact(b));
        for (to, (x, y)) in to.chunks_exact_mut(a + b).zip(x.zip(y)) {
            to[..a].copy_from_slice(x);
            to[a..].copy_from_slice(y);
        }
    });
}

/// The inverse of [`join`].
pub fn split(from: &[f32], [a, b]: [usize; 2], [x, y]: [&mut [f32]; 2]) {
    let count = pixels(a + b);
    assert!(
        x.len().is_multiple_of(a) && y.len() == x.len() / a * b && from.len() == x.len() + y.len(),
        "pixels of both"
    );
    let y = Shared::new(y);
    parts(x, count * a, |i, x| {
        let pixels = x.len() / a;
        // SAFETY: these pixels are this task's.
        let y = unsafe { y.slice(i * count * b, pixels * b) };
        let from = from[i * count * (a + b)..].chunks_exact(a + b);
        for (from, (x, y)) in from.zip(x.chunks_exact_mut(a).zip(y.chunks_exact_mut(b))) {
            x.copy_from_slice(&from[..a]);
            y.copy_from_slice(&from[a..]);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_joined_and_split() {
        for (pixels, [a, b]) in [(1, [1, 1]), (5, [3, 2]), (9001, [2, 5])] {
            let x: Vec<f32> = (0..pixels * a).map(|i| i as f32).collect();
            let y: Vec<f32> = (0..pixels * b).map(|i| -1.0 - i as f32).collect();
            let mut both = vec![0.0; x.len() + y.len()];
            join([&x, &y], [a, b], &mut both);
            for (i, pixel) in both.chunks_exact(a + b).enumerate() {
                assert!(pixel[..a] == x[i * a..][..a] && pixel[a..] == y[i * b..][..b], "pixel {i}");
            }
            let mut parts = [vec![0.0; x.len()], vec![0.0; y.len()]];
            let [first, second] = &mut parts;
            split(&both, [a, b], [first, second]);
            assert_eq!(parts, [x, y]);
        }
    }
}
