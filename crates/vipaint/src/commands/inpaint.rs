//! `vipaint inpaint`

use std::process::ExitCode;

use vipaint::save::Folder;
use vipaint::{Given, Result};

use super::Session;
use crate::{cli, validate};

pub fn run(raw: cli::Inpaint, session: &Session) -> Result<ExitCode> {
    let amount = validate::amount(&raw.amount)?;
    let plan = validate::ask(raw.ask)?;
    let folder = Folder::open(&raw.output)?;
    let keep = validate::keep(raw.files.mask_keep);
    let job = super::prepare(&plan, session, Some(amount), || {
        Ok(Given::open(&raw.files.image, &raw.files.mask, keep)?.into())
    })?;
    let outcome = super::watched(session, |observer| job.run(amount, observer))?;
    super::conclude(session, &outcome, &folder, "inpaint", Some(&plan.prior))
}
