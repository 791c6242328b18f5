//! Fréchet distance of Gaussians (Dowson and Landau, 1982), which on a network's features is FID (Heusel et al., 2017).

use rayon::prelude::*;

use super::Features;
use super::eigen::symmetric_eigenvalues;

/// `|m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2)`, with the means and the (unbiased) covariances of the rows. None unless both
/// sets have two or more rows of one width, and finite values.
///
/// With centred rows `X` and `Y`, `S_a S_b` has the eigenvalues of `M M^T` where `M = X Y^T / sqrt((n_a - 1)(n_b - 1))`, so the
/// last trace is the sum of the singular values of `M`: no square root of a matrix, nothing complex to round off, and exact
/// when there are fewer pictures than features. The distance is biased upwards for small sets, as FID always is.
pub fn frechet(a: &Features, b: &Features) -> Option<f64> {
    if a.width() != b.width() || a.len() < 2 || b.len() < 2 {
        return None;
    }
    let (mean_a, x) = centred(a);
    let (mean_b, y) = centred(b);
    let means: f64 = mean_a.iter().zip(&mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    let traces: f64 = x.values.iter().chain(&y.values).map(|value| value * value).sum();
    let product = x.factor().times_transposed(&y.factor());
    // Squares of the singular values; the smaller of the two products.
    let flat = if product.rows() > product.width { product.transposed() } else { product };
    let squares = symmetric_eigenvalues(flat.times_transposed(&flat).values, flat.rows())?;
    let singular: f64 = squares.iter().map(|square| square.max(0.0).sqrt()).sum();
    Some(means + traces - 2.0 * singular)
}

/// A matrix, row by row.
struct Rows {
    width: usize,
    values: Vec<f64>,
}

/// The mean, and the rows without it over `sqrt(n - 1)`.
fn centred(features: &Features) -> (Vec<f64>, Rows) {
    let n = features.len();
    let mut mean = vec![0.0; features.width()];
    for row in features.rows() {
        mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += f64::from(*value) / n as f64);
    }
    let scale = 1.0 / ((n - 1) as f64).sqrt();
    let rows =
        features.rows().flat_map(|row| row.iter().zip(&mean).map(|(value, mean)| scale * (f64::from(*value) - mean)));
    let rows = Rows { width: features.width(), values: rows.collect() };
    (mean, rows)
}

impl Rows {
    fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// `self other^T`.
    fn times_transposed(&self, other: &Self) -> Self {
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let row = |a: &[f64]| other.values.chunks_exact(other.width).map(|b| dot(a, b)).collect::<Vec<_>>();
        let rows: Vec<Vec<f64>> = self.values.par_chunks_exact(self.width).map(row).collect();
        Self { width: other.rows(), values: rows.concat() }
    }

    fn transposed(&self) -> Self {
        let (rows, width) = (self.rows(), self.width);
        Self { width: rows, values: (0..rows * width).map(|k| self.values[k % rows * width + k / rows]).collect() }
    }

    /// A matrix `R` with the same `R^T R` and no more rows than columns: Householder's triangle.
    fn factor(mut self) -> Self {
        let (rows, width) = (self.rows(), self.width);
        if rows <= width {
            return self;
        }
        for k in 0..width {
            let mut v: Vec<f64> = (k..rows).map(|i| self.values[i * width + k]).collect();
            v[0] += v.iter().map(|x| x * x).sum::<f64>().sqrt().copysign(v[0]);
            let square: f64 = v.iter().map(|x| x * x).sum();
            if square == 0.0 {
                continue;
            }
            let mut along = vec![0.0; width - k];
            for (i, v) in v.iter().enumerate() {
                let row = &self.values[(k + i) * width + k..(k + i + 1) * width];
                along.iter_mut().zip(row).for_each(|(sum, value)| *sum += v * value);
            }
            for (i, v) in v.iter().enumerate() {
                let row = &mut self.values[(k + i) * width + k..(k + i + 1) * width];
                row.iter_mut().zip(&along).for_each(|(value, along)| *value -= 2.0 * v / square * along);
            }
        }
        self.values.truncate(width * width);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with this mean and the covariance `C C^T`, exactly: `mean +- sqrt(n - 1) / sqrt(2) c` for the columns `c` of `C`,
    /// with `n` twice their number.
    fn exact(mean: &[f32], columns: &[&[f32]]) -> Features {
        let scale = ((2 * columns.len() - 1) as f32 / 2.0).sqrt();
        let rows = columns.iter().flat_map(|column| [scale, -scale].map(|s| (s, *column)));
        let values = rows.flat_map(|(s, column)| mean.iter().zip(column).map(move |(m, c)| m + s * c));
        Features::new(mean.len(), values.collect()).unwrap()
    }

    #[test]
    fn independent_features_in_closed_form() {
        // Covariances that commute: |m_a - m_b|^2 + sum (s_a - s_b)^2.
        let a = exact(&[0.5, -1.0, 2.0], &[&[2.0, 0.0, 0.0], &[0.0, 0.5, 0.0], &[0.0, 0.0, 1.0]]);
        let b = exact(&[1.0, 1.0, 2.0], &[&[1.0, 0.0, 0.0], &[0.0, 3.0, 0.0], &[0.0, 0.0, 0.25]]);
        let expected = 0.25 + 4.0 + 1.0 + 6.25 + 0.5625;
        assert!((frechet(&a, &b).unwrap() - expected).abs() < 1e-5, "{:?}", frechet(&a, &b));
        assert!(frechet(&a, &a).unwrap().abs() < 1e-6);
    }

    #[test]
    fn covariances_that_do_not_commute_in_closed_form() {
        // For 2x2 matrices tr(P^1/2) = sqrt(tr P + 2 sqrt(det P)).
        let a = exact(&[0.0, 0.0], &[&[2.0, 1.0], &[0.0, 1.0]]); // [[4, 2], [2, 2]]
        let b = exact(&[0.0, 0.0], &[&[1.0, -1.0], &[0.0, 0.5]]); // [[1, -1], [-1, 1.25]]
        let (trace, det) = (4.0 - 2.0 - 2.0 + 2.5, (8.0 - 4.0) * (1.25 - 1.0));
        let expected = 4.0 + 2.0 + 1.0 + 1.25 - 2.0 * (trace + 2.0 * f64::sqrt(det)).sqrt();
        assert!((frechet(&a, &b).unwrap() - expected).abs() < 1e-5, "{:?} {expected}", frechet(&a, &b));
    }

    #[test]
    fn fewer_pictures_than_features_and_more_agree_with_themselves() {
        // Features repeated k times: means, traces and products all grow k-fold.
        let wide = |features: &Features, k: usize| {
            let values = features.rows().flat_map(|row| (0..k).flat_map(|_| row.iter().copied()));
            Features::new(features.width() * k, values.collect()).unwrap()
        };
        let rows = |seed: f32| Features::new(3, (0..15).map(|i| (i as f32 * seed).sin()).collect()).unwrap();
        let (a, b) = (rows(1.3), rows(2.1));
        let (tall, flat) = (frechet(&a, &b).unwrap(), frechet(&wide(&a, 7), &wide(&b, 7)).unwrap());
        // Singular values are square roots of eigenvalues: those that are 0 come out at up to 1e-8 of the largest.
        assert!((7.0 * tall - flat).abs() < 1e-6 * flat.abs().max(1.0), "{tall} {flat}");
        assert!(frechet(&a, &wide(&b, 2)).is_none());
    }
}
