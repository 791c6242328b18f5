//! `vipaint demo`

use std::process::ExitCode;

use vipaint::Result;
use vipaint::demo::Examples;
use vipaint::save::Folder;

use super::Session;
use crate::{cli, validate};

pub fn run(raw: cli::Demo, session: &Session) -> Result<ExitCode> {
    let amount = validate::amount(&raw.amount)?;
    let plan = validate::ask(raw.ask)?;
    let examples = Examples::of(&plan.prior.name());
    let given = examples.given(raw.picture.as_deref(), raw.hide.as_deref(), plan.seed)?;
    let folder = Folder::open(&raw.output)?;
    let job = super::prepare(&plan, session, Some(amount), || Ok(given.into()))?;
    let outcome = super::watched(session, |observer| job.run(amount, observer))?;
    super::conclude(session, &outcome, &folder, "demo", Some(&plan.prior))
}
