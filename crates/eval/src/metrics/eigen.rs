//! Eigenvalues of symmetric matrices: Householder's reduction to three diagonals, then implicit QL steps (Golub and Van Loan,
//! *Matrix Computations*, sections 8.3.1 and 8.3.3). Values only, `O(n^3)`.

/// The eigenvalues of a symmetric `[n, n]` matrix in row-major order, unsorted. None if the steps do not settle, which happens
/// to values that are not finite.
pub(super) fn symmetric_eigenvalues(mut a: Vec<f64>, n: usize) -> Option<Vec<f64>> {
    let (mut diagonal, mut beside) = tridiagonal(&mut a, n);
    settle(&mut diagonal, &mut beside).then_some(diagonal)
}

/// The diagonal and the one beside it (of `n` values, the last is 0) of a similar matrix.
fn tridiagonal(a: &mut [f64], n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut beside = vec![0.0; n];
    for k in 0..n.saturating_sub(2) {
        // The reflection I - 2 v v^T / (v^T v) takes column k below the diagonal to a multiple of the first unit vector.
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        beside[k] = if v[0] > 0.0 { -norm } else { norm };
        v[0] -= beside[k];
        let square: f64 = v.iter().map(|x| x * x).sum();
        if square == 0.0 {
            continue;
        }
        // A <- A - v w^T - w v^T with p = 2 A v / (v^T v), w = p - (p^T v / v^T v) v.
        let row = |i: usize| (k + 1 + i) * n + k + 1;
        let m = v.len();
        let p: Vec<f64> = (0..m)
            .map(|i| a[row(i)..row(i) + m].iter().zip(&v).map(|(a, v)| a * v).sum::<f64>() * 2.0 / square)
            .collect();
        let along = p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>() / square;
        let w: Vec<f64> = p.iter().zip(&v).map(|(p, v)| p - along * v).collect();
        for i in 0..m {
            let line = &mut a[row(i)..row(i) + m];
            line.iter_mut().zip(v.iter().zip(&w)).for_each(|(a, (vj, wj))| *a -= v[i] * wj + w[i] * vj);
        }
    }
    if n > 1 {
        beside[n - 2] = a[(n - 1) * n + n - 2];
    }
    ((0..n).map(|i| a[i * n + i]).collect(), beside)
}

/// QL steps with Wilkinson's shift until nothing is beside the diagonal.
fn settle(d: &mut [f64], e: &mut [f64]) -> bool {
    const STEPS: usize = 60;
    for first in 0..d.len() {
        for step in 0.. {
            // The block from `first` to `last` is not yet split.
            let small = |i: &usize| e[*i].abs() <= f64::EPSILON * (d[*i].abs() + d[*i + 1].abs());
            let last = (first..d.len() - 1).find(small).unwrap_or(d.len() - 1);
            if last == first {
                break;
            }
            if step == STEPS {
                return false;
            }
            let half = (d[first + 1] - d[first]) / (2.0 * e[first]);
            let root = half.hypot(1.0).copysign(half);
            let mut g = d[last] - d[first] + e[first] / (half + root);
            let (mut sine, mut cosine, mut shift, mut i) = (1.0, 1.0, 0.0, last);
            let mut split = false;
            while i > first {
                i -= 1;
                let (f, b) = (sine * e[i], cosine * e[i]);
                let r = f.hypot(g);
                e[i + 1] = r;
                if r == 0.0 {
                    d[i + 1] -= shift;
                    split = true;
                    break;
                }
                (sine, cosine) = (f / r, g / r);
                g = d[i + 1] - shift;
                let r = (d[i] - g) * sine + 2.0 * cosine * b;
                shift = sine * r;
                d[i + 1] = g + shift;
                g = cosine * r - b;
            }
            if !split {
                d[first] -= shift;
                e[first] = g;
            }
            e[last] = 0.0;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    fn sorted(a: Vec<f64>, n: usize) -> Vec<f64> {
        let mut values = symmetric_eigenvalues(a, n).unwrap();
        values.sort_by(f64::total_cmp);
        values
    }

    #[test]
    fn the_second_difference_in_closed_form() {
        for n in [1, 2, 3, 30, 101] {
            let entry = |i: usize, j: usize| if i == j { 2.0 } else { -f64::from(u8::from(i.abs_diff(j) == 1)) };
            let a = (0..n * n).map(|k| entry(k / n, k % n)).collect();
            for (k, value) in (1..).zip(sorted(a, n)) {
                let expected = 2.0 - 2.0 * (PI * f64::from(k) / (n + 1) as f64).cos();
                assert!((value - expected).abs() < 1e-13 * n as f64, "{n}: {value} {expected}");
            }
        }
    }

    #[test]
    fn a_full_matrix_made_from_its_eigenvalues() {
        // Q diag Q with the reflection Q = I - 2 u u^T: repeated, negative and zero values among them.
        let n = 17;
        let wanted: Vec<f64> = (0..n).map(|i| [3.0, -1.0, 0.0, 3.0, 1e-9, 250.0][i % 6]).collect();
        let u: Vec<f64> = (0..n).map(|i| (i as f64).sin()).collect();
        let norm: f64 = u.iter().map(|x| x * x).sum();
        let q = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * u[i] * u[j] / norm;
        let entry = |i: usize, j: usize| (0..n).map(|k| q(i, k) * wanted[k] * q(k, j)).sum();
        let a = (0..n * n).map(|k| entry(k / n, k % n)).collect();
        let mut wanted = wanted.clone();
        wanted.sort_by(f64::total_cmp);
        for (value, expected) in sorted(a, n).iter().zip(&wanted) {
            assert!((value - expected).abs() < 1e-11, "{value} {expected}");
        }
        assert!(symmetric_eigenvalues(vec![f64::NAN; 9], 3).is_none());
    }
}
