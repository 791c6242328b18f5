//! Operators and noise against what is known of them: by hand, by direct sums, by another JPEG codec.

mod common;

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use common::{device, normal, to_vec};
use image::{DynamicImage, GrayImage, RgbImage};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::noise::stream;
use vipaint_core::operator::{
    Composition, Downsample, GaussianBlur, Grey, HighRange, Jpeg, Kernel, Mask, Operator, PROTOCOLS, Shape3, Shrink,
    Taps,
};

fn picture(values: Vec<f32>, [c, h, w]: Shape3) -> Tensor<4> {
    Tensor::from_data(TensorData::new(values, [1, c, h, w]), &device())
}

/// A picture with edges and texture, in [0, 255].
fn levels(channels: usize, h: usize, w: usize) -> Vec<u8> {
    let mut rng = stream(2, 2, 2);
    (0..channels * h * w)
        .map(|i| {
            let (channel, y, x) = (i / (h * w), i / w % h, i % w);
            let base = if x + 2 * y > w { 200.0 } else { 40.0 + 30.0 * channel as f64 };
            (base + 25.0 * normal(&mut rng)).clamp(0.0, 255.0) as u8
        })
        .collect()
}

/// MATLAB's and PIL's weights for halving with the antialiased bicubic kernel, from Keys' polynomial at .25, .75, 1.25, 1.75.
#[test]
fn bicubic_halving_has_the_known_weights() {
    let half = Downsample::new(Shrink::Bicubic, 2, [1, 16, 16], &device()).unwrap();
    let mut impulse = vec![0.0; 256];
    impulse[8 * 16 + 8] = 1.0;
    let y = to_vec(half.apply(picture(impulse, [1, 16, 16])));
    let weights = [-0.01171875f32, 0.11328125, 0.43359375, -0.03515625]; // of coarse pixels 2, 3, 4, 5 for fine pixel 8
    for (i, on_y) in weights.iter().enumerate() {
        for (j, on_x) in weights.iter().enumerate() {
            let got = y[(i + 2) * 8 + j + 2];
            assert!((got - on_y * on_x).abs() < 1e-6, "{i} {j}: {got} {}", on_y * on_x);
        }
    }
}

/// What is the same everywhere stays the same under every operator that takes means.
#[test]
fn grey_stays_grey() {
    let shape = [3, 16, 24];
    let device = device();
    let operators: Vec<Arc<dyn Operator>> = vec![
        Arc::new(GaussianBlur::new(3.0, shape, &device).unwrap()),
        Arc::new(Downsample::new(Shrink::Box, 4, shape, &device).unwrap()),
        Arc::new(Downsample::new(Shrink::Bicubic, 8, shape, &device).unwrap()),
        Arc::new(Grey::new(shape, &device).unwrap()),
    ];
    for operator in operators {
        for value in to_vec(operator.apply(picture(vec![0.3; 3 * 16 * 24], shape))) {
            assert!((value - 0.3).abs() < 1e-5, "{}: {value}", operator.kind());
        }
    }
}

#[test]
fn a_gaussian_spreads_a_point_by_its_variance() {
    let (n, sigma) = (41, 2.5f64);
    let mut impulse = vec![0.0; n * n];
    impulse[20 * n + 20] = 1.0;
    let blur = GaussianBlur::new(sigma, [1, n, n], &device()).unwrap();
    let y = to_vec(blur.apply(picture(impulse, [1, n, n])));
    let moment = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        y.iter().enumerate().map(|(i, v)| f64::from(*v) * f((i / n) as f64 - 20.0, (i % n) as f64 - 20.0)).sum()
    };
    assert!((moment(&|_, _| 1.0) - 1.0).abs() < 1e-5);
    // Cutting the tails off at 4 sigma loses .1 % of the variance.
    assert!((moment(&|y, _| y * y) / sigma.powi(2) - 1.0).abs() < 2e-3);
    assert!((moment(&|y, x| y * x)).abs() < 1e-4);
}

/// The convolution theorem against the sum it stands for, kernels larger than the picture included.
#[test]
fn kernels_convolve_around_the_edges() {
    let mut rng = stream(4, 4, 4);
    for (h, w, kh, kw) in [(5, 7, 3, 2), (4, 6, 1, 1), (3, 3, 5, 8), (8, 1, 2, 3)] {
        let x: Vec<f32> = (0..h * w).map(|_| normal(&mut rng) as f32).collect();
        let values: Vec<f32> = (0..kh * kw).map(|_| normal(&mut rng) as f32).collect();
        let taps = Taps { height: kh, width: kw, values: values.clone() };
        let kernel = Kernel::new(taps, [1, h, w], &device()).unwrap();
        let y = to_vec(kernel.apply(picture(x.clone(), [1, h, w])));
        for (place, got) in y.iter().enumerate() {
            let mut sum = 0.0;
            for (k, value) in values.iter().enumerate() {
                let at = |i: usize, tap: usize, middle: usize, n: usize| {
                    (i as isize - (tap as isize - middle as isize)).rem_euclid(n as isize) as usize
                };
                let (i, j) = (at(place / w, k / kw, kh / 2, h), at(place % w, k % kw, kw / 2, w));
                sum += value * x[i * w + j];
            }
            assert!((got - sum).abs() < 1e-4, "{h}x{w} {kh}x{kw}: {got} {sum}");
        }
    }
}

/// A real JPEG file, written and read by another codec without chroma subsampling, against the operator.
#[test]
fn jpeg_agrees_with_a_real_codec() {
    for (channels, h, w) in [(1, 32, 40), (3, 24, 32), (1, 21, 13)] {
        let source = levels(channels, h, w);
        for quality in [5, 10, 35, 50, 75, 95] {
            let interleaved: Vec<u8> =
                (0..h * w).flat_map(|i| (0..channels).map(move |c| c * h * w + i)).map(|i| source[i]).collect();
            let (width, height) = (w as u32, h as u32);
            let image: DynamicImage = match channels {
                1 => GrayImage::from_raw(width, height, interleaved).unwrap().into(),
                _ => RgbImage::from_raw(width, height, interleaved).unwrap().into(),
            };
            let mut file = Vec::new();
            image.write_with_encoder(image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, quality)).unwrap();
            let decoded = image::load_from_memory(&file).unwrap();
            let decoded = if channels == 1 { decoded.into_luma8().into_raw() } else { decoded.into_rgb8().into_raw() };

            let jpeg = Jpeg::new(quality, [channels, h, w], (0.0, 255.0), &device()).unwrap();
            let apart = |a: &[f32], b: &[f32]| -> f64 {
                a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>() / a.len() as f64
            };
            let source: Vec<f32> = source.iter().map(|v| f32::from(*v)).collect();
            let decoded: Vec<f32> =
                (0..h * w * channels).map(|i| f32::from(decoded[i % (h * w) * channels + i / (h * w)])).collect();
            let apply = |values: &[f32]| to_vec(jpeg.apply(picture(values.to_vec(), [channels, h, w])));
            // A decoded file loses nothing more but its rounding to whole levels, if tables, transform and colours are right (and
            // its blocks are whole: what a codec puts beyond the edges is cut off).
            let again = apart(&apply(&decoded), &decoded);
            let whole = h % 8 == 0 && w % 8 == 0;
            assert!(
                !whole || again < if channels == 1 { 0.5 } else { 1.0 },
                "{channels} channels, quality {quality}: {again}"
            );
            // This codec cuts coefficients down to whole numbers before it divides them, so that some fall a step lower, and
            // rounds after each stage; beside the coarse steps of lower qualities that is little.
            let (gap, loss) = (apart(&apply(&source), &decoded), apart(&source, &decoded));
            assert!(quality > 75 || gap < 0.35 * loss + 0.5, "{channels} channels, quality {quality}: {gap} of {loss}");
        }
    }
}

#[test]
fn jpeg_pulls_only_where_the_file_is_not_explained() {
    let shape = [1, 16, 16];
    let jpeg = Jpeg::new(20, shape, (-1.0, 1.0), &device()).unwrap();
    let x = picture(levels(1, 16, 16).iter().map(|v| f32::from(*v) / 200.0 - 0.6).collect(), shape);
    let y = jpeg.apply(x.clone());
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.1 };
    let measurement = Measurement::new(Arc::new(jpeg), y.clone(), likelihood).unwrap();
    let pull = |x: &Tensor<4>| {
        let leaf = x.clone().autodiff().require_grad();
        let mut gradients = measurement.nll(leaf.clone(), &[0.2]).sum().backward();
        leaf.grad_remove(&mut gradients).unwrap()
    };
    // Another picture with the same file: no pull. A brighter one: pulled down, as by the identity.
    assert!(to_vec(pull(&x)).iter().all(|g| g.abs() < 1e-3));
    let brighter = pull(&(x + 0.3)).mean().into_scalar::<f32>();
    let expected = 0.3 / (0.1f32.powi(2) + 0.2f32.powi(2));
    assert!((brighter / expected - 1.0).abs() < 0.2, "{brighter} {expected}");
}

#[test]
fn a_clipped_estimate_is_brought_back() {
    let shape = [1, 1, 4];
    let hdr = HighRange::new(2.0, shape, (-1.0, 1.0)).unwrap();
    let y = hdr.apply(picture(vec![0.2, 0.9, -0.9, -0.1], shape));
    assert_eq!(to_vec(y.clone()), [0.4, 1.0, -1.0, -0.2]);
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.1 };
    let measurement = Measurement::new(Arc::new(hdr), y, likelihood).unwrap();
    let leaf = picture(vec![0.9, 0.7, 0.3, -0.1], shape).autodiff().require_grad();
    let mut gradients = measurement.nll(leaf.clone(), &[0.0]).sum().backward();
    let pull = to_vec(leaf.grad_remove(&mut gradients).unwrap());
    // Too bright and clipped: down. Clipped as measured: left alone. Not dark enough: down. Right: left alone.
    assert!(pull[0] > 1.0 && pull[1].abs() < 1e-6 && pull[2] > 1.0 && pull[3].abs() < 1e-4, "{pull:?}");
}

/// The widening of what has no singular values in closed form bounds that of the largest one.
#[test]
fn widening_without_closed_form_bounds_the_largest_eigenvalue() {
    let (shape, device) = ([1, 12, 12], device());
    let mask: Vec<f32> = (0..144).map(|i| f32::from(i % 12 < 7)).collect();
    let parts: Vec<Arc<dyn Operator>> = vec![
        Arc::new(HighRange::new(3.0, shape, (-1.0, 1.0)).unwrap()),
        Arc::new(GaussianBlur::new(1.0, shape, &device).unwrap()),
        Arc::new(Mask::new(&mask, shape, &device).unwrap()),
    ];
    let operator: Arc<dyn Operator> = Arc::new(Composition::new(parts).unwrap());
    assert!(operator.linear().is_none());
    let y = Tensor::zeros([1, 1, 12, 12], &device);
    let likelihood = Likelihood { family: Family::Gaussian, sigma_y: 0.5 };
    let measurement = Measurement::new(operator, y, likelihood).unwrap();
    // At a perfect fit the likelihood tells the variance: 84 known pixels, each sigma_y^2 + r^2 lambda; lambda <= 9, nearly
    // reached by a grey picture, of which the mask hides a part.
    let nll = f64::from(measurement.nll(Tensor::zeros([1, 1, 12, 12], &device), &[2.0]).into_scalar::<f32>());
    let variance = (nll / 84.0 * 2.0).exp() / (2.0 * std::f64::consts::PI);
    let largest = (variance - 0.25) / 4.0;
    assert!((8.0..=9.01).contains(&largest), "{largest}");
}

fn poisson(peak: f64) -> Likelihood {
    Likelihood { family: Family::Poisson { black: -1.0, white: 1.0 }, sigma_y: 2.0 / peak.sqrt() }
}

/// The normal distribution stands for the exact probability of the counts.
#[test]
fn many_photons_have_nearly_the_likelihood_of_counts() {
    let peak = 400.0;
    let mask = Arc::new(Mask::new(&[1.0], [1, 1, 1], &device()).unwrap());
    for (count, mean) in [(100, 90.0), (100, 110.0), (300, 310.0), (40, 38.0)] {
        let y = picture(vec![(2.0 * f64::from(count) / peak - 1.0) as f32], [1, 1, 1]);
        let x = picture(vec![(2.0 * mean / peak - 1.0) as f32], [1, 1, 1]);
        let measurement = Measurement::new(mask.clone(), y, poisson(peak)).unwrap();
        let got = f64::from(measurement.nll(x, &[0.0]).into_scalar::<f32>());
        let log_factorial: f64 = (1..=count).map(|k| f64::from(k).ln()).sum();
        // A density in y: a photon is 2 / peak.
        let exact = mean - f64::from(count) * mean.ln() + log_factorial + (2.0 / peak).ln();
        // The skewness left out is worth about 1 / sqrt(mean) nats.
        assert!((got - exact).abs() < 1.0 / mean.sqrt(), "{count} {mean}: {got} {exact}");
    }
}

#[test]
fn simulated_noise_has_the_stated_moments() {
    let (n, device) = (20000, device());
    let shape = [1, 100, 200];
    let mask: Arc<dyn Operator> = Arc::new(Mask::new(&vec![1.0; n], shape, &device).unwrap());
    for (likelihood, value, variance) in [
        (Likelihood { family: Family::Gaussian, sigma_y: 0.3 }, 0.5, 0.09),
        (Likelihood { family: Family::Laplace, sigma_y: 0.3 }, 0.5, 0.09),
        (poisson(10.0), 0.0, 0.4 * 0.5), // half of the peak
        (poisson(10.0), -1.0, 0.0),      // no light
    ] {
        let x = picture(vec![value; n], shape);
        let simulate = |seed| to_vec(Measurement::simulate(mask.clone(), x.clone(), likelihood, seed).unwrap().y);
        let y = simulate(1);
        assert_eq!(y, simulate(1));
        assert!(variance == 0.0 || y != simulate(2));
        let mean = y.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let got = y.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n as f64;
        // Four standard errors: of the mean sqrt(v / n), of the variance at most v sqrt(5 / n) (Laplace).
        assert!((mean - f64::from(value)).abs() <= 4.0 * (variance / n as f64).sqrt(), "{likelihood:?}: {mean}");
        assert!((got - variance).abs() <= 4.0 * variance * (5.0 / n as f64).sqrt(), "{likelihood:?}: {got} {variance}");
    }
}

/// Every mask hides something and leaves something, and hides what its text says; seeds matter to the random ones only.
#[test]
fn masks_hide_what_they_say() {
    let hidden = |name: &str, [c, h, w]: Shape3, seed: u64| {
        let protocol = PROTOCOLS.iter().find(|p| p.name == name).unwrap();
        protocol.mask([c, h, w], seed).iter().filter(|m| **m == 0.0).count() as f64 / (c * h * w) as f64
    };
    for protocol in PROTOCOLS {
        for shape in [[1, 28, 28], [3, 64, 48], [1, 256, 256]] {
            for seed in 0..8 {
                let mask = protocol.mask(shape, seed);
                assert_eq!(mask.len(), shape.iter().product::<usize>());
                assert_eq!(mask, protocol.mask(shape, seed));
                let share = hidden(protocol.name, shape, seed);
                let range = match protocol.name {
                    "half" | "lines" => 0.5..=0.5,
                    "rotated" => 0.49..=0.51,
                    "box" => 0.25..=0.25,
                    "centre" | "grid" => 0.75..=0.75,
                    "expand" => 0.9375..=0.9375,
                    "random70" => 0.6..=0.8,
                    "random92" => 0.88..=0.96,
                    "rectangles" => 0.3..=0.7,
                    _ => 0.001..=0.5, // strokes
                };
                assert!(range.contains(&share), "{} {shape:?}: {share}", protocol.name);
            }
        }
        let random = ["rotated", "thin", "thick", "rectangles", "random70", "random92"].contains(&protocol.name);
        let shape = [1, 64, 64];
        assert_eq!(
            (1..6).any(|seed| protocol.mask(shape, seed) != protocol.mask(shape, 0)),
            random,
            "{}",
            protocol.name
        );
    }
    // Small pictures leave something to know, too.
    for protocol in PROTOCOLS {
        assert!(protocol.mask([1, 8, 8], 3).contains(&1.0), "{}", protocol.name);
    }
}
