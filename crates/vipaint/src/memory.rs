//! Memory, estimated before the work starts: work is split so that it fits, features are computed again instead of being held if
//! that is not enough, and what cannot fit is refused. None of it changes a result on the CPU.

use std::sync::OnceLock;

use burn::tensor::Device;
use vipaint_core::posterior::{FitOptions, Objective, Together};
use vipaint_core::prior::{Footprint, Prior};
use vipaint_nn::device::is_cpu;

use crate::error::{Error, Result};

/// Bytes that a network call with its gradient takes for each value of a sample, where the architecture does not tell: 1.3 KiB
/// for the embedded prior, with a margin for wider networks.
const PER_VALUE: u64 = 4096;
/// The part of the available memory that is used.
const PART: u64 = 2;
/// What a run takes besides: threads' scratch memory, pictures and their files. Measured with the smallest networks.
const BESIDES: u64 = 12 << 20;
/// What buffers of results that wait for the next one of their size may take.
const KEPT: u64 = 128 << 20;
/// From how much on an estimate is worth a line.
const LARGE: u64 = 1 << 30;

/// What features may take, if the user said so.
static LIMIT: OnceLock<u64> = OnceLock::new();

/// Lets features take so many bytes, instead of half of what is free when the work starts. Only the first call counts.
pub fn limit(bytes: u64) {
    let _ = LIMIT.set(bytes);
}

/// What the machine can still give, if it tells.
fn available() -> Option<u64> {
    kilobytes("/proc/meminfo", "MemAvailable:")
}

/// The process's largest resident size so far, if the system tells.
pub(crate) fn peak() -> Option<u64> {
    kilobytes("/proc/self/status", "VmHWM:")
}

/// The process's resident size now, if the system tells.
pub(crate) fn resident() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

fn kilobytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What may be used. What other devices than the CPU have is only known when it is used up, unless the user said it.
fn room_on(device: &Device) -> u64 {
    let free = || if is_cpu(device) { available() } else { None };
    LIMIT.get().copied().unwrap_or_else(|| free().map_or(u64::MAX, |bytes| bytes / PART))
}

/// Refuses what needs more bytes than the user said that features may take.
///
/// # Errors
/// [`Error::Resource`] when it does.
pub(crate) fn allow(what: &str, needed: u64, remedy: &str) -> Result<()> {
    match LIMIT.get() {
        Some(limit) if needed > *limit => Err(short(what, needed, *limit, remedy)),
        _ => Ok(()),
    }
}

/// What a sample takes, from a call of the denoiser to its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    /// Held for each call.
    call: u64,
    /// Held besides, either while the decoder's gradient is taken or while a call's is.
    besides: u64,
}

impl Sample {
    /// Of a prior under guidance: away from another condition there are two calls.
    fn of(prior: &Prior, cfg_scale: f64, recompute: bool) -> Self {
        let values: u64 = prior.shape().iter().map(|side| *side as u64).product();
        let plain = values * PER_VALUE;
        let unknown = Footprint { denoiser: plain, recomputed: [plain, 0], decoder: 0, late: false };
        let Footprint { denoiser, recomputed: [kept, inside], decoder, .. } = prior.footprint.unwrap_or(unknown);
        let times = if cfg_scale == 1.0 { 1 } else { 2 };
        if recompute {
            return Self { call: kept * times, besides: decoder.max(inside) };
        }
        Self { call: denoiser * times, besides: decoder }
    }

    /// So many of it, each with so many calls.
    fn bytes(self, samples: usize, calls: usize) -> u64 {
        let each = self.call.saturating_mul(calls as u64).saturating_add(self.besides);
        each.saturating_mul(samples as u64)
    }

    /// The most, up to `asked`, for which there is room.
    fn most(self, asked: usize, calls: usize, room: u64) -> usize {
        let most = room / self.bytes(1, calls).max(1);
        asked.min(usize::try_from(most).unwrap_or(usize::MAX))
    }
}

/// What is to be done, as far as memory is concerned.
#[derive(Clone, Copy)]
pub(crate) struct Work<'a> {
    /// The prior.
    pub prior: &'a Prior,
    /// A fit.
    pub fit: Option<&'a FitOptions>,
    /// Samples that are to be drawn together, and their guidance.
    pub draw: Option<(usize, f64)>,
}

/// How work is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Samples of a fit that are in memory together.
    pub together: Together,
    /// Samples that are drawn together.
    pub batch: usize,
    /// Whether features are computed again.
    pub recompute: bool,
    /// What features take at most, in bytes.
    pub features: u64,
    /// What the other stages of the work leave for their next time, in bytes: they have other numbers of samples, so their buffers serve
    /// half of each other's results (measured).
    pub left: u64,
    /// The process's size before; 0 if features are on another device.
    pub before: u64,
}

impl Plan {
    /// How to do some work in the room there is on the prior's device.
    ///
    /// # Errors
    /// [`Error::Resource`] when there is no way.
    pub(crate) fn new(work: Work<'_>) -> Result<Self> {
        work.prior.warm_up();
        Self::within(room_on(&work.prior.device), work)
    }

    fn within(room: u64, work: Work<'_>) -> Result<Self> {
        let plan = Self::with(false, room, work);
        // Only the CPU's kernels can compute features again.
        if plan.is_err() && is_cpu(&work.prior.device) { Self::with(true, room, work) } else { plan }
    }

    fn with(recompute: bool, room: u64, Work { prior, fit, draw }: Work<'_>) -> Result<Self> {
        let mut plan = Self {
            together: Together::default(),
            batch: 1,
            recompute,
            features: 0,
            left: 0,
            before: if is_cpu(&prior.device) { resident().unwrap_or_default() } else { 0 },
        };
        let remedy =
            "close other programs, take weights in half precision or a smaller prior, or allow more with --memory";
        if let Some(options) = fit {
            let sample = Sample::of(prior, options.fit_cfg_scale, recompute);
            let keypoints = options.k.max(options.keypoints.len());
            // The loss of the releases needs a call above the top keypoint for each path, too.
            let calls = if options.objective == Objective::Bound { keypoints } else { keypoints + 1 };
            let above = match options.objective {
                Objective::Bound => options.prior_steps.saturating_mul(options.prior_samples),
                Objective::Ldm => 0,
                Objective::Sd3 => options.prior_steps,
            };
            let whole =
                sample.bytes(options.mc_samples, calls).saturating_add(sample.call.saturating_mul(above as u64));
            let mut needed = whole;
            if whole > room {
                plan.together.paths = sample.most(options.mc_samples, calls, room);
                needed = sample.bytes(plan.together.paths, calls);
            }
            plan.together.starts = sample.most(options.init_samples, 1, room);
            let starts = sample.bytes(plan.together.starts, 1);
            if plan.together.paths == 0 || (options.init_samples > 0 && plan.together.starts == 0) {
                return Err(short("a step of the fit", sample.bytes(1, calls), room, remedy));
            }
            plan.stages(&[needed, starts]);
        }
        if let Some((asked, cfg_scale)) = draw {
            let sample = Sample::of(prior, cfg_scale, recompute);
            plan.batch = sample.most(asked, 1, room);
            if plan.batch == 0 {
                return Err(short("one sample", sample.bytes(1, 1), room, remedy));
            }
            plan.stages(&[sample.bytes(plan.batch, 1)]);
        }
        Ok(plan)
    }

    /// Takes note of what stages of the work take.
    fn stages(&mut self, features: &[u64]) {
        let before = self.features.saturating_add(2 * self.left);
        let all = features.iter().fold(before, |sum, stage| sum.saturating_add(*stage));
        self.features = features.iter().fold(self.features, |most, stage| most.max(*stage));
        self.left = (all - self.features) / 2;
    }

    /// The process's size at its largest, estimated; on another device, what features take there.
    pub fn peak(&self) -> u64 {
        let besides = if self.before > 0 { BESIDES + self.left.min(KEPT) } else { 0 };
        self.before.saturating_add(self.features).saturating_add(besides)
    }

    /// What a user should hear about it, if anything.
    pub fn told(&self) -> Option<String> {
        let split = self.together.paths != usize::MAX;
        let how = match (self.recompute, split) {
            (true, _) => "; to fit, features are computed again and the work is split, which takes longer",
            (false, true) => "; the work is split to fit",
            (false, false) => "",
        };
        let large = self.peak() >= LARGE || self.recompute || split;
        large.then(|| format!("memory: about {:.1} GiB at the peak{how}", gib(self.peak())))
    }
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn short(what: &str, needed: u64, room: u64, remedy: &str) -> Error {
    Error::Resource {
        what: "memory".into(),
        problem: format!(
            "there is not enough for {what}: about {:.1} GiB, of {:.1} to be used",
            gib(needed),
            gib(room)
        ),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vipaint_core::Schedule;
    use vipaint_core::prior::analytic::Gaussian;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A call holds 3 MiB, or 1 with 1 while the gradient is taken; a decoding 1.
    fn prior() -> Prior {
        let gaussian = Gaussian::new(&[0.0; 4], &[1.0; 4], [1, 2, 2], &Device::flex()).expect("it is well formed");
        let mut prior = Prior::new("test", Arc::new(gaussian), Schedule::Flow { shift: 1.0 }, 1.0);
        prior.footprint = Some(Footprint { denoiser: 3 * MIB, recomputed: [MIB, MIB], decoder: MIB, late: false });
        prior
    }

    fn drawn(room: u64, asked: usize) -> Result<Plan> {
        Plan::within(room, Work { prior: &prior(), fit: None, draw: Some((asked, 1.0)) })
    }

    #[test]
    fn batches_shrink_to_what_fits_and_features_are_computed_again_for_the_last() {
        let plan = |room, asked| drawn(room, asked).map(|plan| (plan.batch, plan.recompute)).ok();
        assert_eq!(plan(512 * MIB, 8), Some((8, false)));
        assert_eq!(plan(512 * MIB, 500), Some((128, false)));
        assert_eq!(plan(3 * MIB, 8), Some((1, true)));
        assert!(drawn(MIB, 1).is_err_and(|error| error.exit_code() == 4));
    }

    #[test]
    fn a_fit_is_split_before_features_are_computed_again() {
        // Two keypoints: a path holds 7 MiB, or 3.
        let options =
            FitOptions { mc_samples: 5, prior_steps: 2, prior_samples: 2, init_samples: 6, ..FitOptions::default() };
        let plan = |room| Plan::within(room, Work { prior: &prior(), fit: Some(&options), draw: None });
        let whole = 5 * 7 + 4 * 3;
        let got =
            |room| plan(room * MIB).map(|p| (p.together.paths, p.together.starts, p.recompute, p.features / MIB)).ok();
        assert_eq!(got(whole), Some((usize::MAX, 6, false, whole)));
        assert_eq!(got(whole - 1), Some((5, 6, false, 35)));
        assert_eq!(got(20), Some((2, 5, false, 20)));
        assert_eq!(got(7), Some((1, 1, false, 7)));
        assert_eq!(got(6), Some((2, 3, true, 6)));
        assert_eq!(got(3), Some((1, 1, true, 3)));
        assert_eq!(got(2), None);
    }

    #[test]
    fn guidance_takes_two_calls() {
        let plan = Plan::within(14 * MIB, Work { prior: &prior(), fit: None, draw: Some((4, 3.0)) });
        assert_eq!(plan.map(|plan| plan.batch).ok(), Some(2));
    }
}
