//! `vipaint fit`

use std::process::ExitCode;

use vipaint::save::{report, save_posterior};
use vipaint::{Degradation, Error, Given, Measured, Result};

use super::Session;
use crate::{cli, validate};

pub fn run(raw: cli::Fit, session: &Session) -> Result<ExitCode> {
    let unclear = || Error::usage("fit", "does not know what is missing", "give --mask or --operator");
    if raw.mask.is_none() && raw.operator.is_none() {
        return Err(unclear());
    }
    if raw.simulate && raw.operator.is_none() {
        return Err(Error::usage("--simulate", "has no operator to apply", "give --operator, or leave it out"));
    }
    let plan = validate::ask(raw.ask)?;
    let _folder = validate::writable("--posterior", &raw.posterior)?;
    let degradation = raw.operator.as_deref().map(Degradation::parse).transpose()?;
    let keep = validate::keep(raw.mask_keep);
    let job = super::prepare(&plan, session, None, || match (&raw.mask, degradation) {
        (Some(mask), None) => Ok(Given::open(&raw.image, mask, keep)?.into()),
        (None, Some(degradation)) => Ok(Measured::open(&raw.image, degradation, raw.simulate)?.into()),
        _ => Err(unclear()),
    })?;
    let outcome = super::watched(session, |observer| job.fit(observer))?;
    save_posterior(&outcome, &raw.posterior)?;
    if session.json {
        super::print_json(&report(&outcome, "fit"));
    } else if let Some(terms) = outcome.fit.as_ref().and_then(|fit| fit.trace.last()) {
        let (stage, total) = (&outcome.fitting, terms.total());
        super::say(&format!(
            "fit       {:6.1} s, {} calls; bound {total:.1} nats",
            stage.seconds, stage.calls.denoiser
        ));
        super::say(&format!("posterior {}", raw.posterior.display()));
    }
    if !outcome.interrupted {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("interrupted; {}", super::how_to_resume(&outcome, Some(&plan.prior), &raw.posterior, 8, "out".as_ref()));
    Ok(ExitCode::from(super::INTERRUPTED))
}
