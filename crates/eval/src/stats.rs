//! Means with error bars.

use serde::{Deserialize, Serialize};

/// A mean with its 95 % interval's half width (normal approximation, `1.96 sd / sqrt(n)`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Half the width of its 95 % interval; infinite for a single value.
    pub ci: f64,
}

impl Mean {
    /// Of some values; NaN for none.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, ci: if values.len() > 1 { 1.96 * (var / n).sqrt() } else { f64::INFINITY } }
    }

    /// Of the differences of two sequences over the same cases.
    pub fn paired(a: &[f64], b: &[f64]) -> Self {
        Self::of(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
    }

    /// Whether the interval lies above 0.
    pub fn above_zero(&self) -> bool {
        self.mean - self.ci > 0.0
    }
}

/// The median; the mean of the middle two of an even number, NaN for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
    0.5 * (at(sorted.len().saturating_sub(1) / 2) + at(sorted.len() / 2))
}

impl std::fmt::Display for Mean {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = f.precision().unwrap_or(2);
        // No values have no mean, and one value no interval: a dash, not NaN and inf.
        match (self.mean.is_finite(), self.ci.is_finite()) {
            (true, true) => write!(f, "{:.digits$} ± {:.digits$}", self.mean, self.ci),
            (true, false) => write!(f, "{:.digits$} ± -", self.mean),
            (false, _) => write!(f, "-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_interval() {
        let m = Mean::of(&[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(m.mean, 2.5);
        // sd = sqrt(5 / 3), interval 1.96 sd / 2
        assert!((m.ci - 1.96 * (5.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-12);
        let paired = Mean::paired(&[2.0, 3.0, 4.0], &[1.0, 2.0, 3.0]);
        assert_eq!((paired.mean, paired.ci), (1.0, 0.0));
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert_eq!(format!("{m:.1}, {}, {}", Mean::of(&[2.0]), Mean::of(&[])), "2.5 ± 1.3, 2.00 ± -, -");
        assert!(paired.above_zero() && m.above_zero() != (m.mean < m.ci));
    }
}
