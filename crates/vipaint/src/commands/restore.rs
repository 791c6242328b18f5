//! `vipaint restore`

use std::process::ExitCode;

use vipaint::{Degradation, Result};

use super::Session;
use crate::cli;

pub fn run(raw: cli::Restore, session: &Session) -> Result<ExitCode> {
    let degradation = Degradation::parse(&raw.operator)?;
    super::whole(raw.whole, degradation, session, "restore")
}
