//! Embeddings of time.

use burn::tensor::{Device, Tensor, TensorData};

/// Sinusoids of the times (Vaswani et al., 2017; Ho et al., 2020): `cos(w_i t), sin(w_i t)` with
/// `w_i = 10000^(-i / half)`, `i < half = width / 2`. // [times, width]
pub fn sinusoids(times: &[f64], width: usize, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let frequencies: Vec<f64> = (0..half).map(|i| 10000f64.powf(-(i as f64) / half as f64)).collect();
    let phases = |t: f64| frequencies.iter().map(move |w| t * w);
    let values: Vec<f32> =
        times.iter().flat_map(|t| phases(*t).map(f64::cos).chain(phases(*t).map(f64::sin))).map(|x| x as f32).collect();
    Tensor::from_data(TensorData::new(values, [times.len(), 2 * half]), device)
}
