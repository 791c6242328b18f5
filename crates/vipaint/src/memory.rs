//! Memory, estimated before the work starts: batches are made small enough, and a fit that cannot fit is refused.

use burn::tensor::Device;
use vipaint_core::posterior::FitOptions;
use vipaint_core::prior::{Footprint, Prior};
use vipaint_nn::device::is_cpu;

use crate::error::{Error, Result};

/// Bytes that a network call with its gradient takes for each value of a sample, where the architecture does not tell: 1.3 KiB
/// for the embedded prior, with a margin for wider networks.
const PER_VALUE: u64 = 4096;
/// The part of the available memory that is used.
const PART: u64 = 2;

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

/// What a sample takes, from a call of the denoiser to its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    denoiser: u64,
    decoder: u64,
}

impl Sample {
    /// Of a prior under guidance: away from another condition there are two calls.
    pub fn of(prior: &Prior, cfg_scale: f64) -> Self {
        let values: u64 = prior.shape().iter().map(|side| *side as u64).product();
        let Footprint { denoiser, decoder } =
            prior.footprint.unwrap_or(Footprint { denoiser: values * PER_VALUE, decoder: 0 });
        Self { denoiser: denoiser * if cfg_scale == 1.0 { 1 } else { 2 }, decoder }
    }
}

/// What may be used. What other devices than the CPU have is only known when it is used up.
fn room_on(device: &Device) -> u64 {
    if is_cpu(device) { room(available()) } else { u64::MAX }
}

/// What may be used of what is there.
fn room(available: Option<u64>) -> u64 {
    available.map_or(u64::MAX, |bytes| bytes / PART)
}

/// The largest batch up to `asked` for which a device has memory.
///
/// # Errors
/// [`Error::Resource`] when there is none for a single sample.
pub(crate) fn batch(asked: usize, sample: Sample, device: &Device) -> Result<usize> {
    fitting_batch(asked, room_on(device), sample)
}

fn fitting_batch(asked: usize, room: u64, sample: Sample) -> Result<usize> {
    let needed = (sample.denoiser + sample.decoder).max(1);
    match usize::try_from(room / needed).unwrap_or(usize::MAX) {
        0 => Err(short("one sample", needed, room, "close other programs, or take a smaller prior")),
        most => Ok(asked.min(most)),
    }
}

/// Checks that a fit's step, whose samples cannot be split, has enough memory on a device.
///
/// # Errors
/// [`Error::Resource`] when it has not.
pub(crate) fn fit(options: &FitOptions, sample: Sample, device: &Device) -> Result<()> {
    // A step keeps the calls at all keypoints until its gradient is taken, and decodes at the last.
    let keypoints = options.k.max(options.keypoints.len());
    let (mc, init) = (options.mc_samples as u64, options.init_samples as u64);
    let calls = mc.saturating_mul(keypoints as u64);
    let calls = calls.saturating_add((options.prior_steps as u64).saturating_mul(options.prior_samples as u64));
    let bytes = |calls: u64, decoded: u64| {
        calls.saturating_mul(sample.denoiser).saturating_add(decoded.saturating_mul(sample.decoder))
    };
    let (needed, room) = (bytes(calls, mc).max(bytes(init, init)), room_on(device));
    if needed > room {
        let remedy = "lower mc_samples, prior_samples or init_samples with --set";
        return Err(short("a step of the fit", needed, room, remedy));
    }
    Ok(())
}

fn short(what: &str, needed: u64, room: u64, remedy: &str) -> Error {
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
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
    use super::*;

    const SAMPLE: Sample = Sample { denoiser: 3 << 20, decoder: 1 << 20 };

    #[test]
    fn batches_shrink_to_what_fits() {
        assert_eq!(room(Some(1 << 30)), 1 << 29);
        assert_eq!(room(None), u64::MAX);
        assert_eq!(fitting_batch(8, 1 << 29, SAMPLE).ok(), Some(8));
        assert_eq!(fitting_batch(500, 1 << 29, SAMPLE).ok(), Some(128));
        assert!(fitting_batch(1, (4 << 20) - 1, SAMPLE).is_err_and(|error| error.exit_code() == 4));
    }

    #[test]
    fn a_fit_beyond_all_memory_is_refused() {
        let options = FitOptions { mc_samples: usize::MAX, ..FitOptions::default() };
        let cpu = Device::flex();
        assert_eq!(fit(&options, SAMPLE, &cpu).is_err(), available().is_some());
        assert!(fit(&FitOptions::default(), Sample { denoiser: 1, decoder: 1 }, &cpu).is_ok());
    }
}
