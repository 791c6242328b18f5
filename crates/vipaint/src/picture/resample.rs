//! Separable resampling between `n` and `m` samples that cover the same stretch.

/// The source samples that make up one target sample, from `start` on, with weights that sum to one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taps {
    pub start: usize,
    pub weights: Vec<f64>,
}

/// From `n` samples to `m`: means over the area covered when there are more than needed, else linear interpolation, in
/// which the last samples are repeated beyond the ends.
pub(super) fn to_size(n: usize, m: usize) -> Vec<Taps> {
    let scale = n as f64 / m as f64;
    (0..m)
        .map(|i| {
            if n >= m {
                let (from, to) = (i as f64 * scale, (i + 1) as f64 * scale);
                let covered = |j: isize| (to.min((j + 1) as f64) - from.max(j as f64)) / scale;
                taps(from.floor() as isize, to.ceil() as isize - 1, n, covered)
            } else {
                let centre = (i as f64 + 0.5) * scale - 0.5;
                let first = centre.floor() as isize;
                taps(first, first + 1, n, |j| 1.0 - (centre - j as f64).abs())
            }
        })
        .collect()
}

/// From `n` samples back to `m`: cubic interpolation (Catmull and Rom), or means where `m` is smaller.
pub(super) fn from_size(n: usize, m: usize) -> Vec<Taps> {
    let scale = n as f64 / m as f64;
    if n >= m {
        return to_size(n, m);
    }
    (0..m)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale - 0.5;
            let first = centre.floor() as isize - 1;
            taps(first, first + 3, n, |j| cubic((centre - j as f64).abs()))
        })
        .collect()
}

/// The taps at `first..=last` of `0..n`; samples beyond the ends stand for the last ones.
fn taps(first: isize, last: isize, n: usize, weight: impl Fn(isize) -> f64) -> Taps {
    let inside = |j: isize| j.clamp(0, n as isize - 1) as usize;
    let start = inside(first);
    let mut weights = vec![0.0; inside(last) - start + 1];
    for j in first..=last {
        weights[inside(j) - start] += weight(j);
    }
    // A weight of (nearly) nothing must not make a sample depend on its neighbour.
    let nothing = |weight: &f64| weight.abs() < 1e-9;
    let skip = weights.iter().take_while(|weight| nothing(weight)).count();
    weights.drain(..skip);
    while weights.last().is_some_and(nothing) {
        weights.pop();
    }
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    Taps { start: start + skip, weights }
}

fn cubic(x: f64) -> f64 {
    if x < 1.0 {
        1.5 * x.powi(3) - 2.5 * x.powi(2) + 1.0
    } else if x < 2.0 {
        -0.5 * x.powi(3) + 2.5 * x.powi(2) - 4.0 * x + 2.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_size_changes_nothing() {
        for taps in [to_size(7, 7), from_size(7, 7)] {
            for (i, taps) in taps.iter().enumerate() {
                assert_eq!(*taps, Taps { start: i, weights: vec![1.0] });
            }
        }
    }

    #[test]
    fn weights_sum_to_one_and_taps_stay_inside() {
        for (n, m) in [(1, 9), (9, 1), (28, 32), (32, 28), (100, 32), (32, 100), (5, 2)] {
            for taps in to_size(n, m).iter().chain(&from_size(n, m)) {
                assert!((taps.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            }
            for taps in to_size(n, m).iter().chain(&from_size(n, m)) {
                assert!(taps.start + taps.weights.len() <= n);
            }
        }
    }

    #[test]
    fn halving_takes_means() {
        assert_eq!(to_size(4, 2)[1], Taps { start: 2, weights: vec![0.5, 0.5] });
    }
}
