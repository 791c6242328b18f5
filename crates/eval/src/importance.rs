//! Whether importance weights can be trusted: their effective size, and the shape of their tail.

use std::fmt;

/// Paths from which on the tail can be judged.
pub const FEWEST: usize = 100;

/// What weights are worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trust {
    /// How many there are.
    pub paths: usize,
    /// `(sum w)^2 / sum w^2` (Kong et al., 1994): how many samples of equal weight they are worth.
    pub effective: f64,
    /// Pareto's k of the tail (Vehtari, Simpson, Gelman, Yao, Gabry, 2024): moments of the weights above order 1/k do not exist. `None`
    /// for fewer than 100 paths, or without a tail.
    pub pareto_k: Option<f64>,
}

impl Trust {
    /// Of logarithms of weights.
    pub fn of(log_weights: &[f64]) -> Self {
        let top = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights: Vec<f64> = log_weights.iter().map(|log| (log - top).exp()).collect();
        let effective = weights.iter().sum::<f64>().powi(2) / weights.iter().map(|w| w * w).sum::<f64>();
        weights.sort_by(f64::total_cmp);
        let paths = weights.len();
        let pareto_k = if paths >= FEWEST { tail(&weights) } else { None };
        Self { paths, effective, pareto_k }
    }

    /// The largest k at which averages with so many weights converge in practice: `min(1 - 1 / log10 S, 0.7)` (Vehtari et al., 2024,
    /// section 3.2.4).
    pub fn limit(&self) -> f64 {
        (1.0 - 1.0 / (self.paths as f64).log10()).min(0.7)
    }

    /// Whether averages with these weights can be used.
    pub fn usable(&self) -> bool {
        self.paths >= FEWEST && self.effective >= 10.0 && self.pareto_k.is_none_or(|k| k < self.limit())
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { paths, effective, pareto_k } = self;
        if *paths < FEWEST {
            return write!(f, "too few: {paths} paths say nothing about their weights' tail; draw {FEWEST} or more");
        }
        let tail =
            pareto_k.map_or_else(String::new, |k| format!(", Pareto k {k:.2} (below {:.2} is good)", self.limit()));
        let verdict = if self.usable() { "usable" } else { "collapsed: a few paths have almost all of the weight" };
        write!(f, "{verdict}; {paths} paths are worth {effective:.1}{tail}")
    }
}

/// Pareto's k of the largest `min(S / 5, 3 sqrt(S))` of ascending weights.
fn tail(weights: &[f64]) -> Option<f64> {
    let n = weights.len();
    let size = (n as f64 / 5.0).min(3.0 * (n as f64).sqrt()).ceil() as usize;
    let cut = weights[n - size - 1];
    let exceedances: Vec<f64> = weights[n - size..].iter().map(|w| w - cut).filter(|x| *x > 0.0).collect();
    // Five is the fewest that the estimate is defined for in practice.
    (exceedances.len() >= 5).then(|| generalised_pareto(&exceedances))
}

/// The shape of a generalised Pareto distribution by the estimate of Zhang and Stephens (2009), with the weak prior of Vehtari et al.
/// (2024, appendix G) that draws it to 1/2. `x` is ascending and positive.
fn generalised_pareto(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    let points = 30 + n.sqrt() as usize;
    let (quartile, largest) = (x[((n / 4.0 + 0.5) as usize).max(1) - 1], x[x.len() - 1]);
    let shape = |theta: f64| x.iter().map(|x| (-theta * x).ln_1p()).sum::<f64>() / n;
    let thetas: Vec<f64> = (1..=points)
        .map(|j| 1.0 / largest + (1.0 - (points as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile))
        .collect();
    let likelihood = |theta: f64| {
        let k = shape(theta);
        n * ((-theta / k).ln() - k - 1.0)
    };
    let logs: Vec<f64> = thetas.iter().map(|theta| likelihood(*theta)).collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|l| (l - top).exp()).collect();
    let theta = thetas.iter().zip(&weights).map(|(t, w)| t * w).sum::<f64>() / weights.iter().sum::<f64>();
    (shape(theta) * n + 0.5 * 10.0) / (n + 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use vipaint_core::noise::stream;

    /// Weights `u^-k` have a Pareto tail of shape k.
    #[test]
    fn known_tails_are_recognised() {
        for (seed, k) in [(0, 0.3), (1, 0.5), (2, 1.0)] {
            let mut rng = stream(seed, 0, 0);
            let logs: Vec<f64> = (0..20_000).map(|_| -k * (1.0 - rng.random::<f64>()).ln()).collect();
            let trust = Trust::of(&logs);
            let got = trust.pareto_k.expect("there is a tail");
            // The estimate's standard error is (1 + k) / sqrt(tail), here 3 sqrt(20,000) = 424: .06 to .1; three of them.
            assert!((got - k).abs() < 3.0 * (1.0 + k) / 424f64.sqrt(), "{got} {k}");
            assert_eq!(trust.usable(), k < 0.7, "{trust}");
        }
    }

    #[test]
    fn few_and_collapsed_weights_are_told() {
        assert!(Trust::of(&[0.0; 99]).to_string().starts_with("too few"));
        let even = Trust::of(&[-4.0; 200]);
        assert!(even.usable() && (even.effective - 200.0).abs() < 1e-9, "{even}");
        let logs: Vec<f64> = (0..200).map(|i| 0.5 * f64::from(i)).collect();
        let collapsed = Trust::of(&logs);
        assert!(!collapsed.usable() && collapsed.to_string().starts_with("collapsed"), "{collapsed}");
    }
}
