//! `vipaint prior list|info|check`

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use vipaint::check::{Part, check};
use vipaint::picture::read;
use vipaint::priors::{EMBEDDED, Source};
use vipaint::save::write_atomically;
use vipaint::{Result, priors};

use super::Session;
use crate::{cli, validate};

pub fn run(raw: cli::Prior, session: &Session) -> Result<ExitCode> {
    match raw {
        cli::Prior::List => list(session.json),
        cli::Prior::Info { prior } => info(&Source::named(&prior)?, session.json)?,
        cli::Prior::Check { prior, input, output, decode, encode } => {
            let part = match (decode, encode) {
                (true, _) => Part::Decoder,
                (_, true) => Part::Encoder,
                _ => Part::Denoiser,
            };
            let prior = Source::named(&prior)?;
            validate::writable("--output", &output)?;
            run_check(&prior, part, &input, &output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) {
    if json {
        let rows: Vec<Value> = EMBEDDED.iter().map(|p| json!({ "name": p.name, "about": p.about })).collect();
        super::print_json(&Value::Array(rows));
        return;
    }
    for prior in EMBEDDED {
        super::say(&format!("{:12} {}", prior.name, prior.about));
    }
}

fn info(source: &Source, json: bool) -> Result<()> {
    let info = priors::info(source)?;
    if json {
        super::print_json(&info);
        return Ok(());
    }
    for (key, value) in info.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => super::say(&format!("{key:12} {text}")),
            other => super::say(&format!("{key:12} {other}")),
        }
    }
    Ok(())
}

fn run_check(prior: &Source, part: Part, input: &Path, output: &Path) -> Result<()> {
    let result = check(prior, part, &read(input)?, &input.display().to_string())?;
    write_atomically(output, &result)?;
    eprintln!("written: {}", output.display());
    Ok(())
}
