//! `vipaint sample`

use std::process::ExitCode;

use vipaint::picture::read;
use vipaint::priors::{self, EMBEDDED};
use vipaint::save::Folder;
use vipaint::{Error, Job, Result};

use super::Session;
use crate::{cli, validate};

pub fn run(raw: &cli::Sample, session: &Session) -> Result<ExitCode> {
    let amount = validate::amount(&raw.amount)?;
    let source = raw.prior.as_deref().map(priors::Source::named).transpose()?;
    let folder = Folder::open(&raw.output)?;
    let name = raw.posterior.display().to_string();
    let bytes = read(&raw.posterior)?;
    let (job, fit) = Job::load(&bytes, &name, |prior, hash| match &source {
        Some(source) => {
            super::fetch(source, session)?;
            source.load_on(&session.device()?)
        }
        None if EMBEDDED.iter().any(|embedded| embedded.name == prior) => {
            priors::Source::named(prior)?.load_on(&session.device()?)
        }
        None => {
            let problem = format!("was fitted under prior {prior} ({hash}), which is not embedded");
            Err(Error::input(&name, problem, "give that prior's file with --prior"))
        }
    })?;
    super::tell_about(&job, Some(amount))?;
    let outcome = super::watched(session, |observer| job.resume(fit, amount, observer))?;
    super::conclude(session, &outcome, &folder, "sample", source.as_ref())
}
