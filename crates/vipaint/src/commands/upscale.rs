//! `vipaint upscale`

use std::process::ExitCode;

use vipaint::{Degradation, Result};

use super::Session;
use crate::{cli, validate};

pub fn run(raw: cli::Upscale, session: &Session) -> Result<ExitCode> {
    let degradation = Degradation::shrunk(raw.factor, validate::shrink(raw.kernel))?;
    super::whole(raw.whole, degradation, session, "upscale")
}
