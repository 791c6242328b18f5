//! `vipaint deblur`

use std::process::ExitCode;

use vipaint::{Degradation, Result};

use super::Session;
use crate::cli;

pub fn run(raw: cli::Deblur, session: &Session) -> Result<ExitCode> {
    let degradation = Degradation::blur(&raw.kernel)?;
    super::whole(raw.whole, degradation, session, "deblur")
}
