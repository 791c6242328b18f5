//! Structural similarity (Wang, Bovik, Sheikh, Simoncelli, 2004).

/// Structural similarity, in [-1, 1], of pictures with `channels` values for each pixel, row by row, in [0, 1]: the mean of
/// eq. 13 over all windows inside the picture and all channels, with the paper's Gaussian window of 11 pixels and standard
/// deviation 1.5 (smaller, if the picture is), K = (.01, .03).
///
/// # Panics
/// If the lengths do not fit.
pub fn ssim(a: &[f32], b: &[f32], [channels, height, width]: [usize; 3]) -> f64 {
    assert!(a.len() == b.len() && a.len() == channels * height * width, "pictures of one size");
    let side = [11, height, width].into_iter().min().unwrap_or(1);
    let weight = |i: usize| (-0.5 * ((i as f64 - (side - 1) as f64 / 2.0) / 1.5).powi(2)).exp();
    let sum: f64 = (0..side).map(weight).sum();
    let window: Vec<f64> = (0..side).map(|i| weight(i) / sum).collect();
    let (c1, c2) = (0.01f64.powi(2), 0.03f64.powi(2));
    let (mut total, mut count) = (0.0, 0);
    for channel in 0..channels {
        for (top, left) in (0..=height - side).flat_map(|y| (0..=width - side).map(move |x| (y, x))) {
            let mut moments = [0.0; 5]; // of a, b, a^2, b^2, a b
            for (i, j) in (0..side).flat_map(|i| (0..side).map(move |j| (i, j))) {
                let at = ((top + i) * width + left + j) * channels + channel;
                let (w, a, b) = (window[i] * window[j], f64::from(a[at]), f64::from(b[at]));
                moments.iter_mut().zip([a, b, a * a, b * b, a * b]).for_each(|(m, v)| *m += w * v);
            }
            let [ma, mb, aa, bb, ab] = moments;
            let (va, vb, cov) = (aa - ma * ma, bb - mb * mb, ab - ma * mb);
            total += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            count += 1;
        }
    }
    total / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        let a: Vec<f32> = (0..144).map(|i| (i * 37 % 100) as f32 / 100.0).collect();
        assert!((ssim(&a, &a, [1, 12, 12]) - 1.0).abs() < 1e-12);
        // Two flat pictures: only the first factor is left, (2 x y + C1) / (x^2 + y^2 + C1).
        let flat = |value: f32| vec![value; 3 * 15 * 13];
        let expected = (2.0 * 0.2 * 0.6 + 1e-4) / (0.04 + 0.36 + 1e-4);
        assert!((ssim(&flat(0.2), &flat(0.6), [3, 15, 13]) - expected).abs() < 1e-6);
        assert!(ssim(&a, &a.iter().map(|v| 1.0 - v).collect::<Vec<_>>(), [1, 12, 12]) < 0.0);
    }
}
