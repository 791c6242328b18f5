//! Checks of hyperparameters.

use std::ops::RangeInclusive;

use crate::{Error, Result};

/// [`Error::Config`].
pub(crate) fn fail<T>(key: &'static str, problem: &str) -> Result<T> {
    Err(Error::Config { key, problem: problem.to_string() })
}

/// Checks that a hyperparameter is in its range.
pub(crate) fn within(key: &'static str, value: usize, range: RangeInclusive<usize>) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    fail(key, &format!("must be {} to {}, not {value}", range.start(), range.end()))
}
