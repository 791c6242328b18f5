//! Whether credible intervals from samples contain the truth as often as they say.

/// The share of values inside their intervals, and the share that should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coverage {
    /// The share of true values that lie inside.
    pub share: f64,
    /// What it would be if truth and samples were draws of one distribution: `1 - 2 k / (n + 1)`, the level nearest to the one
    /// asked for that `n` samples can give.
    pub nominal: f64,
    /// Values looked at.
    pub values: usize,
}

/// Central credible intervals, one for each value.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    /// Lower ends.
    pub low: Vec<f32>,
    /// Upper ends.
    pub high: Vec<f32>,
    /// The probability that an independent further draw lies inside, see [`Coverage::nominal`].
    pub nominal: f64,
}

/// Central intervals between the `k`-th smallest and the `k`-th largest of the samples of each value, for a level in (0, 1). The rank
/// of a draw among `n` others is uniform on `n + 1` places, so the nominal level is exact. None without two samples of one
/// length.
pub fn central(samples: &[&[f32]], level: f64) -> Option<Intervals> {
    let n = samples.len();
    let values = samples.first()?.len();
    if n < 2 || samples.iter().any(|sample| sample.len() != values) {
        return None;
    }
    let k = (((1.0 - level) / 2.0 * (n + 1) as f64).round() as usize).clamp(1, n / 2);
    let (mut low, mut high) = (Vec::with_capacity(values), Vec::with_capacity(values));
    let mut sorted = vec![0.0; n];
    for i in 0..values {
        sorted.iter_mut().zip(samples).for_each(|(value, sample)| *value = sample[i]);
        sorted.sort_by(f32::total_cmp);
        low.push(sorted[k - 1]);
        high.push(sorted[n - k]);
    }
    Some(Intervals { low, high, nominal: 1.0 - 2.0 * k as f64 / (n + 1) as f64 })
}

impl Intervals {
    /// How often `truth` lies inside; only values for which `inside` holds count (all, if there is no `inside`). A true value equal to
    /// an end counts as half inside, so that rounding to bytes favours neither side. None without values, or of other lengths.
    pub fn coverage(&self, truth: &[f32], inside: Option<&[bool]>) -> Option<Coverage> {
        if truth.len() != self.low.len() || inside.is_some_and(|inside| inside.len() != truth.len()) {
            return None;
        }
        let (mut share, mut values) = (0.0, 0);
        for (i, truth) in truth.iter().enumerate().filter(|(i, _)| inside.is_none_or(|inside| inside[*i])) {
            let (low, high) = (&self.low[i], &self.high[i]);
            share += if low < truth && truth < high {
                1.0
            } else if truth == low || truth == high {
                0.5
            } else {
                0.0
            };
            values += 1;
        }
        (values > 0).then(|| Coverage { share: share / values as f64, nominal: self.nominal, values })
    }
}

/// The coverage of [`central`] intervals.
pub fn intervals(samples: &[&[f32]], truth: &[f32], inside: Option<&[bool]>, level: f64) -> Option<Coverage> {
    central(samples, level)?.coverage(truth, inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_of_one_distribution_are_covered_as_often_as_told() {
        for (n, level) in [(8, 0.9), (19, 0.9), (40, 0.5)] {
            let mut state = 1u64;
            let mut draw = || {
                let values = (0..20_000).map(|_| {
                    state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (state >> 40) as f32
                });
                values.collect::<Vec<_>>()
            };
            let (truth, samples) = (draw(), (0..n).map(|_| draw()).collect::<Vec<_>>());
            let samples: Vec<&[f32]> = samples.iter().map(Vec::as_slice).collect();
            let coverage = intervals(&samples, &truth, None, level).unwrap();
            // Four standard errors of a share of 20,000.
            assert!((coverage.share - coverage.nominal).abs() < 4.0 * 0.5 / 20_000f64.sqrt(), "{coverage:?}");
            assert!((coverage.nominal - level).abs() <= 1.0 / n as f64 + 0.05);
        }
    }

    #[test]
    fn known_values() {
        let samples: [&[f32]; 3] = [&[0.0, 0.0, 0.0], &[1.0, 0.0, 0.0], &[2.0, 0.0, 9.0]];
        let cover = |truth: &[f32], inside: Option<&[bool]>| {
            intervals(&samples, truth, inside, 0.5).map(|c| (c.share, c.nominal))
        };
        assert_eq!(cover(&[1.5, 0.0, 10.0], None), Some((0.5, 0.5)));
        assert_eq!(cover(&[1.5, 0.0, 10.0], Some(&[true, false, false])), Some((1.0, 0.5)));
        assert_eq!(cover(&[1.5, 0.0], None), None);
    }
}
