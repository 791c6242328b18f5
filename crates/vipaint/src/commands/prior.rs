//! `vipaint prior list|info|check|bench|pull`

use std::path::Path;
use std::process::ExitCode;

use burn::tensor::Device;
use serde_json::{Value, json};
use vipaint::check::{Part, check};
use vipaint::hub::Remote;
use vipaint::picture::read;
use vipaint::priors::{EMBEDDED, Source};
use vipaint::save::write_atomically;
use vipaint::{Error, Result, hub, priors, speed};
use vipaint_zoo::presets::PRESETS;

use super::Session;
use crate::progress::Progress;
use crate::{cli, validate};

pub fn run(raw: cli::Prior, session: &Session) -> Result<ExitCode> {
    match raw {
        cli::Prior::List => {
            session.cpu_only("prior list")?;
            session.no_memory("prior list")?;
            list(session.json);
        }
        cli::Prior::Info { prior } => {
            session.cpu_only("prior info")?;
            session.no_memory("prior info")?;
            info(&named(&prior, session)?, session.json)?;
        }
        cli::Prior::Pull { prior, fp16 } => {
            session.cpu_only("prior pull")?;
            session.no_memory("prior pull")?;
            pull(&prior, fp16, session)?;
        }
        cli::Prior::Check { prior, input, output, decode, encode } => {
            session.no_memory("prior check")?;
            let part = match (decode, encode) {
                (true, _) => Part::Decoder,
                (_, true) => Part::Encoder,
                _ => Part::Denoiser,
            };
            let _folder = validate::writable("--output", &output)?;
            let prior = named(&prior, session)?;
            run_check(&prior, &session.device()?, part, &input, &output)?;
        }
        cli::Prior::Bench { prior, batch, size, random_weights, half_weights, decode, rounds } => {
            if prior.starts_with(Remote::SCHEME) {
                named(&prior, session)?; // The measurement finds its files in the cache.
            }
            let device = session.device()?;
            let ask = speed::Ask { prior, device, batch, size, decode, random_weights, half_weights, rounds };
            let figures = speed::measure(&ask)?;
            if session.json { super::print_json(&figures) } else { print_fields(&figures) }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool) {
    if json {
        let row =
            |name: &str, about: &str, embedded: bool| json!({ "name": name, "about": about, "embedded": embedded });
        let rows = EMBEDDED.iter().map(|prior| row(prior.name, prior.about, true));
        let known = PRESETS.iter().map(|preset| row(preset.name, preset.about, false));
        super::print_json(&Value::Array(rows.chain(known).collect()));
        return;
    }
    let width = PRESETS.iter().map(|preset| preset.name.len()).max().unwrap_or_default();
    for prior in EMBEDDED {
        super::say(&format!("{:width$}  {}", prior.name, prior.about));
    }
    super::say("\narchitectures that are known, whose weights are not in the program:");
    for preset in PRESETS {
        super::say(&format!("{:width$}  {}", preset.name, preset.about));
    }
}

fn info(source: &Source, json: bool) -> Result<()> {
    let info = priors::info(source)?;
    if json {
        super::print_json(&info);
    } else {
        print_fields(&info);
    }
    Ok(())
}

/// A prior whose files are here.
fn named(prior: &str, session: &Session) -> Result<Source> {
    let source = Source::named(prior)?;
    super::fetch(&source, session)?;
    Ok(source)
}

fn pull(prior: &str, half: bool, session: &Session) -> Result<()> {
    if !prior.starts_with(Remote::SCHEME) && Source::named(prior).is_ok() {
        let problem = format!("{prior} is here already");
        return Err(Error::usage("PRIOR", problem, "give it to --prior as it is, or write hf:ORG/REPO"));
    }
    let mut progress = Progress::new();
    let pulled = hub::pull("PRIOR", prior, half, &mut |step| {
        progress.on_fetch(step);
        session.interrupt.flow()
    })?;
    progress.finish();
    if session.json {
        super::print_json(&pulled);
        return Ok(());
    }
    for file in pulled["files"].as_array().into_iter().flatten() {
        let how = file["checked"].as_str().map_or("was here".to_owned(), |how| format!("fetched, checked by {how}"));
        eprintln!("{:>12} {}, {how}", file["bytes"].as_u64().unwrap_or(0), file["name"].as_str().unwrap_or_default());
    }
    super::say(pulled["path"].as_str().unwrap_or_default());
    Ok(())
}

fn print_fields(object: &Value) {
    for (key, value) in object.as_object().into_iter().flatten() {
        match value {
            Value::String(text) => super::say(&format!("{key:14} {text}")),
            other => super::say(&format!("{key:14} {other}")),
        }
    }
}

fn run_check(prior: &Source, device: &Device, part: Part, input: &Path, output: &Path) -> Result<()> {
    let result = check(prior, device, part, &read(input)?, &input.display().to_string())?;
    write_atomically(output, &result)?;
    eprintln!("written: {}", output.display());
    Ok(())
}
