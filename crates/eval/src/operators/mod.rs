//! Every operator with every method at equal cost: each setting of [`vipaint_core::operator::settings`], measured with noise, on
//! held-out pictures.

mod page;
mod tuned;

use std::ops::ControlFlow;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vipaint_core::measurement::{Family, Likelihood, Measurement};
use vipaint_core::operator::{Operator, Setting, settings};
use vipaint_core::posterior::Problem;
use vipaint_core::prior::{Guidance, Prior};
use vipaint_core::sampler::Draw;

pub use page::{Summary, markdown, summarise};
pub use tuned::Tuned;

use crate::Result;
use crate::gmm::Stop;
use crate::masks::{Budget, Contender, bytes};
use crate::metrics::{psnr, ssim};

/// What is compared on.
pub struct Benchmark<'a> {
    /// The prior, on pictures.
    pub prior: &'a Prior,
    /// Pictures `[c, h, w]` in the prior's value range.
    pub pictures: &'a [Vec<f32>],
    /// Other pictures, on which methods are tuned.
    pub tuning: &'a [Vec<f32>],
    /// Names of settings; all if there is none.
    pub settings: &'a [String],
    /// The methods.
    pub methods: &'a [Tuned],
    /// Samples for each picture.
    pub samples: usize,
    /// Cost for each picture and method in forward calls.
    pub cost: u64,
    /// The measurement's noise, in the prior's values.
    pub sigma_y: f64,
    /// The seed of everything.
    pub seed: u64,
}

/// One method on one picture that was measured in one way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The operator's setting.
    pub setting: String,
    /// Index of the picture.
    pub picture: usize,
    /// Whether it is one that methods are tuned on.
    pub tuning: bool,
    /// The method as it was asked for, see [`Tuned`].
    pub method: String,
    /// The options that were used.
    pub used: String,
    /// PSNR of a sample, dB, the mean over samples; peak = the prior's value range.
    pub psnr: f64,
    /// PSNR of the samples' mean.
    pub psnr_mean: f64,
    /// PSNR of a sample over pixels that are not measured at all, if there are some.
    pub psnr_hidden: Option<f64>,
    /// SSIM of a sample, the mean over samples.
    pub ssim: f64,
    /// Root mean square of `y - A x` over the noise's standard deviation: 1 for the truth.
    pub residual: f64,
    /// Pixel standard deviation over samples, in units of the value range.
    pub diversity: f64,
    /// Forward calls.
    pub calls: u64,
    /// Vector-Jacobian products.
    pub vjps: u64,
    /// Seconds, with as many pictures side by side as there are threads.
    pub seconds: f64,
    /// What was measured as a picture, and the samples, as bytes `[1 + samples, c, h, w]`; only of pictures that the page shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<u8>,
}

/// What is to be run.
#[derive(Clone, Copy)]
struct Case<'a> {
    setting: usize,
    picture: usize,
    tuning: bool,
    method: &'a Tuned,
    used: &'a Contender,
}

impl Benchmark<'_> {
    /// Runs what is missing in `earlier`, those rows that methods are tuned by first, and returns all rows in order; see
    /// [`crate::masks::Benchmark::run`]. A method that says that it is not for an operator has no rows there.
    ///
    /// # Errors
    /// The first error of a method, or [`vipaint_core::Error::Interrupted`].
    pub fn run(
        &self,
        earlier: &[Row],
        done: &(dyn Fn(&Row) -> ControlFlow<()> + Sync),
        tick: &Stop,
    ) -> Result<Vec<Row>> {
        let names = self.names()?;
        let run = |cases: Vec<Case>| -> Result<Vec<Row>> {
            let rows = (cases.into_par_iter().with_max_len(1)).map(|case| {
                let same = |r: &&Row| {
                    (r.picture, r.tuning) == (case.picture, case.tuning)
                        && r.setting == names[case.setting]
                        && r.method == case.method.name
                        && r.used == case.used.name
                };
                if let Some(row) = earlier.iter().find(same) {
                    return Ok(Some(row.clone()));
                }
                let row = match self.row(&case, tick) {
                    Err(crate::Error::Core(vipaint_core::Error::Option { name: "method", .. })) => return Ok(None),
                    row => row?,
                };
                if done(&row).is_break() {
                    return Err(vipaint_core::Error::Interrupted.into());
                }
                Ok(Some(row))
            });
            Ok(rows.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let every = || (0..names.len()).flat_map(|s| self.methods.iter().map(move |m| (s, m)));
        let tuning = every().filter(|(_, method)| method.alternatives.len() > 1).flat_map(|(setting, method)| {
            let each = move |used| (0..self.tuning.len()).map(move |p| (p, used));
            let cases = method.alternatives.iter().flat_map(each);
            cases.map(move |(picture, used)| Case { setting, picture, tuning: true, method, used })
        });
        let mut rows = run(tuning.collect())?;
        let chosen: Vec<_> = every().map(|(s, method)| (s, method, method.best(&rows, &names[s]))).collect();
        let cases = (0..self.pictures.len()).flat_map(|picture| {
            chosen.iter().map(move |(setting, method, used)| Case {
                setting: *setting,
                picture,
                tuning: false,
                method,
                used,
            })
        });
        rows.extend(run(cases.collect())?);
        Ok(rows)
    }

    /// Names of the settings, in order.
    ///
    /// # Errors
    /// Shapes that an operator cannot take.
    pub fn names(&self) -> Result<Vec<String>> {
        let all = settings(self.prior.shape(), self.prior.value_range, 0, &Device::flex())?;
        let wanted = |name: &String| self.settings.is_empty() || self.settings.contains(name);
        Ok(all.into_iter().map(|s| s.name).filter(wanted).collect())
    }

    /// Settings for a picture, in order.
    fn settings(&self, picture: usize) -> Result<Vec<Setting>> {
        let seed = self.seed.wrapping_add(picture as u64);
        let all = settings(self.prior.shape(), self.prior.value_range, seed, &Device::flex())?;
        Ok(all.into_iter().filter(|s| self.settings.is_empty() || self.settings.contains(&s.name)).collect())
    }

    /// Pictures that the page shows: spread over the set, which is ordered by class.
    fn shown(&self) -> impl Iterator<Item = usize> {
        let (n, shown) = (self.pictures.len(), page::SHOWN.min(self.pictures.len()));
        (0..shown).map(move |i| i * n / shown)
    }

    fn row(&self, case: &Case, tick: &Stop) -> Result<Row> {
        let Case { picture, tuning, method, used, .. } = *case;
        let (device, prior) = (Device::flex(), self.prior.counting_anew());
        let [c, h, w] = prior.shape();
        let truth = if tuning { &self.tuning[picture] } else { &self.pictures[picture] };
        let seed = self.seed.wrapping_add(picture as u64).wrapping_mul(2).wrapping_add(u64::from(tuning));
        let Setting { name: setting, operator, scale, .. } = self.settings(picture)?.swap_remove(case.setting);
        let likelihood = Likelihood { family: Family::Gaussian, sigma_y: self.sigma_y * scale };
        let x = Tensor::from_data(TensorData::new(truth.clone(), [1, c, h, w]), &device);
        let measurement = Measurement::simulate(operator.clone(), x, likelihood, seed)?;
        let y = measurement.y.clone();
        let problem = Problem::new(prior, measurement, Guidance::default())?;
        let sampler = used.sampler(&Budget { cost: self.cost, samples: self.samples as u64, guided: false })?;
        let started = std::time::Instant::now();
        let draw = Draw { seed, indices: 0..self.samples, batch: self.samples };
        let drawn = sampler.sample(&problem, &draw, &mut |_| tick())?;
        let seconds = started.elapsed().as_secs_f64();
        let Some(samples) = drawn.images.filter(|_| !drawn.interrupted) else {
            return Err(vipaint_core::Error::Interrupted.into());
        };
        let (low, high) = (problem.prior.value_range.0 as f32, problem.prior.value_range.1 as f32);
        let samples = samples.clamp(low, high);
        let residual = (operator.apply(samples.clone()) - y.clone()).square();
        let calls = problem.prior.calls();
        let values: Vec<f32> = samples.try_into_vec_as().unwrap_or_default();
        let unit = |values: &[f32]| values.iter().map(|v| (v - low) / (high - low)).collect::<Vec<_>>();
        let scores = Scores::new(&unit(&values), &unit(truth), &hidden(operator.as_ref()), [c, h, w]);
        let images = if !tuning && self.shown().any(|shown| shown == picture) {
            let mut images = bytes(&measured(operator.as_ref(), y, scale), low, high);
            images.extend(bytes(&values, low, high));
            images
        } else {
            Vec::new()
        };
        let known = known(operator.as_ref());
        Ok(Row {
            setting,
            picture,
            tuning,
            method: method.name.clone(),
            used: used.name.clone(),
            psnr: scores.psnr,
            psnr_mean: scores.psnr_mean,
            psnr_hidden: scores.psnr_hidden,
            ssim: scores.ssim,
            residual: (f64::from(residual.sum().into_scalar::<f32>()) / (known * self.samples) as f64).sqrt()
                / likelihood.sigma_y,
            diversity: scores.diversity,
            calls: calls.denoiser,
            vjps: calls.vjp,
            seconds,
            images,
        })
    }
}

/// How many values of `y` are measured.
fn known(operator: &dyn Operator) -> usize {
    match operator.linear() {
        Some(linear) => {
            let spectrum: Vec<f32> = linear.spectrum().try_into_vec_as().unwrap_or_default();
            // Only masks have values that measure nothing; a spectrum's zeros are frequencies elsewhere.
            let masked = operator.kind() == "mask";
            spectrum.iter().filter(|s| !masked || **s > 0.0).count()
        }
        None => operator.output_shape().iter().product(),
    }
}

/// Which values of a picture are not measured at all: those that no measured value pulls at.
fn hidden(operator: &dyn Operator) -> Vec<bool> {
    let ([c, h, w], [oc, oh, ow]) = (operator.input_shape(), operator.output_shape());
    let device = Device::flex();
    let leaf = Tensor::<4>::zeros([1, c, h, w], &device).autodiff().require_grad();
    // Irrational weights do not cancel.
    let weights: Vec<f32> = (0..oc * oh * ow).map(|i| 1.0 + (i as f32 * 0.618_034).fract()).collect();
    let weights = Tensor::<4>::from_data(TensorData::new(weights, [1, oc, oh, ow]), &device);
    let mut grads = (operator.tangent(leaf.clone()) * weights.autodiff()).sum().backward();
    let pull: Vec<f32> = leaf.grad_remove(&mut grads).and_then(|g| g.try_into_vec_as().ok()).unwrap_or_default();
    pull.iter().map(|p| *p == 0.0).collect()
}

/// What was measured, as a picture `[c, h, w]`: enlarged if it is one, else the roughest picture that explains it.
fn measured(operator: &dyn Operator, y: Tensor<4>, scale: f64) -> Vec<f32> {
    let ([c, h, w], [oc, oh, ow]) = (operator.input_shape(), operator.output_shape());
    if !h.is_multiple_of(oh) || !w.is_multiple_of(ow) || (oh, ow) == (1, 1) {
        return operator.rough_inverse(y).try_into_vec_as().unwrap_or_default();
    }
    let y: Vec<f32> = (y / scale).try_into_vec_as().unwrap_or_default();
    let at = |i: usize| ((i / (h * w)).min(oc - 1) * oh + i / w % h * oh / h) * ow + i % w * ow / w;
    (0..c * h * w).map(|i| y[at(i)]).collect()
}

/// The PSNR of a picture that was rounded to 8 bits, dB: all that can be seen. A hole that is nothing but black may be filled exactly.
const ROUNDED: f64 = 58.9;

/// How near samples are to the truth, values in [0, 1].
struct Scores {
    psnr: f64,
    psnr_mean: f64,
    psnr_hidden: Option<f64>,
    ssim: f64,
    diversity: f64,
}

impl Scores {
    fn new(samples: &[f32], truth: &[f32], hidden: &[bool], shape: [usize; 3]) -> Self {
        let n = (samples.len() / truth.len()).max(1) as f64;
        let each = || samples.chunks_exact(truth.len());
        let average = |f: &dyn Fn(&[f32]) -> f64| each().map(f).sum::<f64>() / n;
        let mean: Vec<f32> =
            (0..truth.len()).map(|i| (each().map(|s| f64::from(s[i])).sum::<f64>() / n) as f32).collect();
        let squares = average(&|s| s.iter().zip(&mean).map(|(s, m)| f64::from(s - m).powi(2)).sum::<f64>());
        let only = |x: &[f32]| x.iter().zip(hidden).filter(|(_, h)| **h).map(|(x, _)| *x).collect::<Vec<_>>();
        let rows = |x: &[f32]| interleaved(x, shape);
        let psnr = |a: &[f32], b: &[f32]| psnr(a, b).min(ROUNDED);
        let truth_rows = rows(truth);
        Self {
            psnr: average(&|s| psnr(s, truth)),
            psnr_mean: psnr(&mean, truth),
            psnr_hidden: hidden.contains(&true).then(|| average(&|s| psnr(&only(s), &only(truth)))),
            ssim: average(&|s| ssim(&rows(s), &truth_rows, shape)),
            diversity: (squares * n / (n - 1.0).max(1.0) / truth.len() as f64).sqrt(),
        }
    }
}

/// `[c, h, w]` as `c` values for each pixel.
fn interleaved(x: &[f32], [c, h, w]: [usize; 3]) -> Vec<f32> {
    (0..h * w).flat_map(|i| (0..c).map(move |channel| x[channel * h * w + i])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipaint_core::operator::KINDS;

    /// Every operator is in the benchmark, and says truly which of its pixels are hidden.
    #[test]
    fn every_operator_has_a_setting() {
        let device = Device::flex();
        let all = settings([3, 32, 32], (-1.0, 1.0), 1, &device).expect("every factor divides 32");
        for kind in KINDS {
            assert!(all.iter().any(|s| s.operator.kind() == kind.name), "{} has none", kind.name);
        }
        let mut names: Vec<&String> = all.iter().map(|s| &s.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all.len(), "names are unique");
        let share = |name: &str| {
            let setting = all.iter().find(|s| s.name == name).expect("it is listed");
            hidden(setting.operator.as_ref()).iter().filter(|h| **h).count() as f64 / 3072.0
        };
        assert_eq!([share("mask:half"), share("mask:box"), share("window:2")], [0.5, 0.25, 0.75]);
        assert_eq!([share("gaussian:2"), share("bicubic:4"), share("jpeg:10"), share("hdr:2")], [0.0; 4]);
        let blocks = all.iter().find(|s| s.name == "blocks:4").expect("it is listed");
        let ones = Tensor::ones([1, 3, 32, 32], &device);
        let shown = measured(blocks.operator.as_ref(), blocks.operator.apply(ones), blocks.scale);
        assert!(shown.iter().all(|v| (v - 1.0).abs() < 1e-5), "sums are shown as means");
    }

    #[test]
    fn scores_by_hand() {
        // One sample is .1 too bright everywhere, the other .1 too dark: their mean is exact.
        let truth = vec![0.5; 144];
        let samples: Vec<f32> = [0.6; 144].into_iter().chain([0.4; 144]).collect();
        let mut hidden = vec![false; 144];
        hidden[3] = true;
        let s = Scores::new(&samples, &truth, &hidden, [1, 12, 12]);
        assert!(
            (s.psnr - 20.0).abs() < 1e-4
                && s.psnr_mean == ROUNDED
                && (s.psnr_hidden.unwrap_or(0.0) - 20.0).abs() < 1e-4
        );
        // Two values .1 either side of their mean: variance .02.
        assert!((s.diversity - 0.02f64.sqrt()).abs() < 1e-6 && s.ssim < 1.0);
    }
}
