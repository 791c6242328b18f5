//! Memory, estimated before the work starts: batches are made small enough, and a fit that cannot fit is refused.

use vipaint_core::posterior::FitOptions;

use crate::error::{Error, Result};

/// Bytes that a network call with its gradient takes for each value of a sample: 1.3 KiB for the embedded prior, with a
/// margin for wider networks.
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

/// Samples of `values` values that can go through a network together.
fn room(available: Option<u64>, values: usize) -> usize {
    available.map_or(usize::MAX, |bytes| (bytes / PART / PER_VALUE / values.max(1) as u64) as usize)
}

/// The largest batch up to `asked` for which there is memory.
///
/// # Errors
/// [`Error::Resource`] when there is none for a single sample.
pub(crate) fn batch(asked: usize, values: usize) -> Result<usize> {
    fitting_batch(asked, room(available(), values))
}

fn fitting_batch(asked: usize, room: usize) -> Result<usize> {
    if room == 0 {
        return Err(short("one sample", "close other programs, or take a smaller prior"));
    }
    Ok(asked.min(room))
}

/// Checks that a fit's step, whose samples cannot be split, has enough memory.
///
/// # Errors
/// [`Error::Resource`] when it has not.
pub(crate) fn fit(options: &FitOptions, values: usize) -> Result<()> {
    // A step keeps the calls at all keypoints until its gradient is taken.
    let keypoints = options.k.max(options.keypoints.len());
    let together = options.mc_samples.saturating_mul(keypoints);
    let together = together.saturating_add(options.prior_steps.saturating_mul(options.prior_samples));
    if together.max(options.init_samples) > room(available(), values) {
        return Err(short("a step of the fit", "lower mc_samples, prior_samples or init_samples with --set"));
    }
    Ok(())
}

fn short(what: &str, remedy: &str) -> Error {
    Error::Resource {
        what: "memory".into(),
        problem: format!("there is not enough for {what}"),
        remedy: remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_to_what_fits() {
        let gib = Some(1 << 30);
        assert_eq!(room(gib, 1024), 128);
        assert_eq!(room(None, 1024), usize::MAX);
        assert_eq!(fitting_batch(8, 128).ok(), Some(8));
        assert_eq!(fitting_batch(500, 128).ok(), Some(128));
        assert!(fitting_batch(1, room(Some(1 << 20), 1024)).is_err_and(|error| error.exit_code() == 4));
    }

    #[test]
    fn a_fit_beyond_all_memory_is_refused() {
        let options = FitOptions { mc_samples: usize::MAX, ..FitOptions::default() };
        assert_eq!(fit(&options, 1024).is_err(), available().is_some());
        assert!(fit(&FitOptions::default(), 1).is_ok());
    }
}
