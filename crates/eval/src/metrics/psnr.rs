//! Peak signal-to-noise ratio.

/// `-10 log10(mean (a - b)^2)`, in dB, of values in [0, 1] (the peak is 1); infinite for equal pictures.
///
/// # Panics
/// If the lengths differ.
pub fn psnr(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "pictures of one size");
    let error = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64;
    -10.0 * error.log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_of_the_peak_is_20_db() {
        let a: Vec<f32> = (0..144).map(|i| (i * 37 % 100) as f32 / 100.0).collect();
        let shifted: Vec<f32> = a.iter().map(|v| v + 0.1).collect();
        assert!((psnr(&a, &shifted) - 20.0).abs() < 1e-4);
        assert_eq!(psnr(&a, &a), f64::INFINITY);
    }
}
