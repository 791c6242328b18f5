//! Embeddings of time.

use burn::tensor::{Device, Tensor, TensorData};

/// `10000^(-i / (half - shift))`, `i < half` (Vaswani et al., 2017): the last is `1 / 10000` at a shift of one.
pub(crate) fn frequencies(half: usize, shift: f64) -> Vec<f64> {
    (0..half).map(|i| 10000f64.powf(-(i as f64) / (half as f64 - shift))).collect()
}

/// `cos(w_i t), sin(w_i t)` or, with `sines_first`, the other way round. // [times, 2 frequencies]
pub(crate) fn waves(times: &[f64], frequencies: &[f64], sines_first: bool, device: &Device) -> Tensor<2> {
    let functions: [fn(f64) -> f64; 2] = if sines_first { [f64::sin, f64::cos] } else { [f64::cos, f64::sin] };
    let of = |t: f64| functions.into_iter().flat_map(move |f| frequencies.iter().map(move |w| f(w * t) as f32));
    let values: Vec<f32> = times.iter().flat_map(|t| of(*t)).collect();
    Tensor::from_data(TensorData::new(values, [times.len(), 2 * frequencies.len()]), device)
}
