//! Kernel inception distance (Binkowski, Sutherland, Arbel, Gretton, 2018, section 4), on any network's features.

use rayon::prelude::*;

use super::Features;

/// A kernel distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kid {
    /// The unbiased estimate: 0 on average for pictures of one distribution, so it can be below 0.
    pub value: f64,
    /// Its standard error, by the jackknife over the pictures of both sets; between sets of one distribution it errs on the
    /// large side.
    pub error: f64,
}

/// The unbiased squared maximum mean discrepancy with the kernel `(x.y / d + 1)^3` (equations 3 and 4 there), over all
/// pictures of both sets. None unless both have two or more pictures and equally many features.
pub fn kid(a: &Features, b: &Features) -> Option<Kid> {
    if a.width() != b.width() || a.len() < 2 || b.len() < 2 {
        return None;
    }
    let (n, m) = (a.len() as f64, b.len() as f64);
    let (aa, bb, ab, ba) = (sums(a, a, true), sums(b, b, true), sums(a, b, false), sums(b, a, false));
    let total = |sums: &[f64]| sums.iter().sum::<f64>();
    let (saa, sbb, sab) = (total(&aa), total(&bb), total(&ab));
    let mmd = |saa: f64, sbb: f64, sab: f64, n: f64, m: f64| {
        saa / (n * (n - 1.0)) + sbb / (m * (m - 1.0)) - 2.0 * sab / (n * m)
    };
    let value = mmd(saa, sbb, sab, n, m);
    if a.len() < 3 || b.len() < 3 {
        return Some(Kid { value, error: f64::NAN });
    }
    // Without a picture, the sums over pairs lose its row and its column.
    let without_a = aa.iter().zip(&ab).map(|(own, other)| mmd(saa - 2.0 * own, sbb, sab - other, n - 1.0, m));
    let without_b = bb.iter().zip(&ba).map(|(own, other)| mmd(saa, sbb - 2.0 * own, sab - other, n, m - 1.0));
    let variance = jackknife(&without_a.collect::<Vec<_>>()) + jackknife(&without_b.collect::<Vec<_>>());
    Some(Kid { value, error: variance.sqrt() })
}

/// For each row of `a`, the kernel's sum over the rows of `b` (but the same one, if `own`).
fn sums(a: &Features, b: &Features, own: bool) -> Vec<f64> {
    let d = a.width() as f64;
    let rows: Vec<&[f32]> = a.rows().collect();
    let kernel = |x: &[f32], y: &[f32]| {
        let dot: f64 = x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        (dot / d + 1.0).powi(3)
    };
    let sum = |(i, x): (usize, &&[f32])| {
        let others = b.rows().enumerate().filter(|(j, _)| !own || *j != i);
        others.map(|(_, y)| kernel(x, y)).sum()
    };
    rows.par_iter().enumerate().map(sum).collect()
}

/// The jackknife's variance from the estimates that each leave one out.
fn jackknife(estimates: &[f64]) -> f64 {
    let n = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / n;
    estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() * (n - 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(n: usize, width: usize, seed: u64, shift: f32) -> Features {
        // Sums of twelve uniform numbers: nearly normal.
        let mut state = seed;
        let mut uniform = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u32 << 24) as f32
        };
        let values = (0..n * width).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0 + shift);
        Features::new(width, values.collect()).unwrap()
    }

    #[test]
    fn two_pictures_each_by_hand() {
        // d = 1: k(x, y) = (x y + 1)^3 for a = {1, 2} and b = {0, -1}.
        let [a, b] = [vec![1.0, 2.0], vec![0.0, -1.0]].map(|values| Features::new(1, values).unwrap());
        let expected = 27.0 + 1.0 - 2.0 * (1.0 + 0.0 + 1.0 - 1.0) / 4.0;
        assert!((kid(&a, &b).unwrap().value - expected).abs() < 1e-12);
        assert!(kid(&a, &Features::new(1, vec![1.0]).unwrap()).is_none());
        assert!(kid(&a, &Features::new(2, vec![1.0; 4]).unwrap()).is_none());
    }

    #[test]
    fn it_is_unbiased_and_its_error_is_right() {
        // Over many pairs of sets of one distribution: mean 0 within 4 standard errors, and z-scores of variance near 1.
        let runs: Vec<Kid> =
            (0..60).map(|i| kid(&features(40, 4, 2 * i, 0.0), &features(30, 4, 2 * i + 1, 0.0)).unwrap()).collect();
        let n = runs.len() as f64;
        let mean = runs.iter().map(|kid| kid.value).sum::<f64>() / n;
        let spread = (runs.iter().map(|kid| (kid.value - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        assert!(mean.abs() < 4.0 * spread / n.sqrt(), "{mean} of {spread}");
        let told = runs.iter().map(|kid| kid.error).sum::<f64>() / n;
        assert!((0.6..1.7).contains(&(told / spread)), "says {told}, is {spread}");
    }

    #[test]
    fn a_shift_is_seen() {
        let near = kid(&features(50, 8, 1, 0.0), &features(50, 8, 2, 0.0)).unwrap();
        let far = kid(&features(50, 8, 1, 0.0), &features(50, 8, 2, 1.0)).unwrap();
        assert!(near.value.abs() < 4.0 * near.error && far.value > 4.0 * far.error);
    }
}
