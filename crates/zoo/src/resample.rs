//! Changes of resolution by two with a separable filter (Zhang, 2019; StyleGAN's and EDM's `resample_filter`).

use burn::tensor::Tensor;
use burn::tensor::ops::PadMode;
use vipaint_nn::ops::{average_pool2, upsample2};

/// A filter of even length `L`, its taps summing to one; `[1, 1]` averages on the way down and repeats on the way up.
///
/// Along each axis, with zeros outside and `p = L / 2 - 1`: down `y[i] = sum_k f[k] x[2 i + k - p]`, and up, the transpose
/// times two, `y[2 i + k - p] += 2 f[k] x[i]`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Filter(Vec<f64>);

impl Filter {
    /// From taps that need not sum to one; none if their number is odd or zero, or their sum is.
    pub fn new(taps: &[f64]) -> Option<Self> {
        let sum: f64 = taps.iter().sum();
        let right = !taps.is_empty() && taps.len().is_multiple_of(2) && sum.is_finite() && sum != 0.0;
        right.then(|| Self(taps.iter().map(|tap| tap / sum).collect()))
    }

    /// Means of two, or repetition.
    pub fn nearest() -> Self {
        Self(vec![0.5; 2])
    }

    /// Whether this is [`Self::nearest`].
    pub fn is_nearest(&self) -> bool {
        self.0 == [0.5; 2]
    }

    /// Zeros on each side of a picture that [`Self::down`] needs.
    pub fn padding(&self) -> usize {
        self.0.len() / 2 - 1
    }

    /// `[b, h, w, c]` to `[b, h / 2, w / 2, c]`, even sides.
    pub fn down(&self, x: Tensor<4>) -> Tensor<4> {
        if self.is_nearest() { average_pool2(x) } else { self.down_inside(pad(x, self.padding())) }
    }

    /// [`Self::down`] of a picture that has its padding already.
    pub fn down_inside(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, w, c] = x.dims();
        let rows = self.halve(x.reshape([b, h, w * c]));
        let h = rows.dims()[1];
        let y = self.halve(rows.reshape([b * h, w, c]));
        let w = y.dims()[1];
        y.reshape([b, h, w, c])
    }

    /// `[b, h, w, c]` to `[b, 2 h, 2 w, c]`.
    pub fn up(&self, x: Tensor<4>) -> Tensor<4> {
        if self.is_nearest() {
            return upsample2(x);
        }
        let ([b, h, w, c], q) = (x.dims(), self.0.len() / 2);
        let x = pad(x, q);
        let rows = self.double(&x.reshape([b, h + 2 * q, (w + 2 * q) * c]), h);
        self.double(&rows.reshape([b * 2 * h, w + 2 * q, c]), w).reshape([b, 2 * h, 2 * w, c])
    }

    /// Along the middle axis of even length. // [outer, length, inner] to [outer, (length - L) / 2 + 1, inner]
    fn halve(&self, x: Tensor<3>) -> Tensor<3> {
        let [outer, length, inner] = x.dims();
        let count = (length - self.0.len()) / 2 + 1;
        let pairs = x.reshape([outer, length / 2, 2 * inner]);
        let tap = |k: usize| pairs.clone().narrow(1, k / 2, count).narrow(2, k % 2 * inner, inner) * self.0[k];
        (1..self.0.len()).fold(tap(0), |sum, k| sum + tap(k))
    }

    /// Along the middle axis, `length` long and padded with `L / 2` on each side. // to [outer, 2 length, inner]
    fn double(&self, x: &Tensor<3>, length: usize) -> Tensor<3> {
        let ([outer, _, inner], taps, p, q) = (x.dims(), self.0.len(), self.padding(), self.0.len() / 2);
        let phase = |r: usize| {
            // Taps of this parity, tap k reading x[i + (r + p - k) / 2].
            let term =
                |k: usize| x.clone().narrow(1, q + (r + p + taps - k) / 2 - taps / 2, length) * (2.0 * self.0[k]);
            let first = (p + r) % 2;
            (first + 2..taps).step_by(2).fold(term(first), |sum, k| sum + term(k))
        };
        Tensor::cat(vec![phase(0), phase(1)], 2).reshape([outer, 2 * length, inner])
    }
}

/// Zeros around a picture.
pub(crate) fn pad(x: Tensor<4>, by: usize) -> Tensor<4> {
    if by == 0 { x } else { x.pad([(0, 0), (by, by), (by, by), (0, 0)], PadMode::Constant(0.0)) }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};

    use super::*;

    fn picture(h: usize, w: usize, c: usize) -> Vec<f32> {
        (0..2 * h * w * c).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect()
    }

    fn tensor(values: &[f32], h: usize, w: usize, c: usize) -> Tensor<4> {
        Tensor::from_data(TensorData::new(values.to_vec(), [2, h, w, c]), &Device::flex())
    }

    /// The definition, one output pixel after another.
    fn down(taps: &[f64], x: &[f32], [h, w, c]: [usize; 3]) -> Vec<f32> {
        let (sum, p) = (taps.iter().sum::<f64>(), taps.len() as isize / 2 - 1);
        let at = |b: usize, i: isize, j: isize, k: usize| {
            let inside = (0..h as isize).contains(&i) && (0..w as isize).contains(&j);
            if inside { f64::from(x[((b * h + i as usize) * w + j as usize) * c + k]) } else { 0.0 }
        };
        let mut y = Vec::new();
        for (b, i, j, k) in (0..2 * h / 2 * w / 2 * c)
            .map(|n| (n / (h / 2 * w / 2 * c), n / (w / 2 * c) % (h / 2), n / c % (w / 2), n % c))
        {
            let mut total = 0.0;
            for (m, row) in taps.iter().enumerate() {
                for (n, column) in taps.iter().enumerate() {
                    let (i, j) = (2 * i as isize + m as isize - p, 2 * j as isize + n as isize - p);
                    total += row * column / (sum * sum) * at(b, i, j, k);
                }
            }
            y.push(total as f32);
        }
        y
    }

    const FILTERS: [&[f64]; 4] =
        [&[1.0, 1.0], &[1.0, 3.0, 3.0, 1.0], &[2.0, 1.0, -1.0, 4.0], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]];

    #[test]
    fn down_is_its_definition() {
        for taps in FILTERS {
            for [h, w, c] in [[2, 4, 3], [8, 6, 2], [4, 4, 1]] {
                let x = picture(h, w, c);
                let y = Filter::new(taps).unwrap().down(tensor(&x, h, w, c));
                assert_eq!(y.dims(), [2, h / 2, w / 2, c]);
                let y: Vec<f32> = y.into_data().iter().collect();
                // Sums of at most 36 products of size one, in single precision.
                assert!(y.iter().zip(down(taps, &x, [h, w, c])).all(|(a, b)| (a - b).abs() < 1e-5), "{taps:?}");
            }
        }
    }

    #[test]
    fn up_is_four_times_the_transpose_of_down() {
        for taps in FILTERS {
            let (filter, [h, w, c]) = (Filter::new(taps).unwrap(), [6, 4, 2]);
            let (x, y) = (picture(h, w, c), picture(h / 2, w / 2, c));
            let dot = |a: Tensor<4>, b: Tensor<4>| f64::from((a * b).sum().into_scalar::<f32>());
            let below = dot(filter.down(tensor(&x, h, w, c)), tensor(&y, h / 2, w / 2, c));
            let above = dot(tensor(&x, h, w, c), filter.up(tensor(&y, h / 2, w / 2, c)));
            assert!((above - 4.0 * below).abs() < 1e-4, "{taps:?}: {above} and {below}");
        }
    }

    #[test]
    fn filters_that_cannot_be_are_none() {
        for taps in [&[][..], &[1.0], &[1.0, 2.0, 1.0], &[1.0, -1.0], &[f64::INFINITY, 1.0]] {
            assert_eq!(Filter::new(taps), None);
        }
    }
}
