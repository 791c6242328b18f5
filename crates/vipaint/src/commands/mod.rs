//! The subcommands: one file each.

pub mod bench;
pub mod deblur;
pub mod demo;
pub mod eval;
pub mod fit;
pub mod inpaint;
pub mod metrics;
pub mod prior;
pub mod restore;
pub mod sample;
pub mod train;
pub mod upscale;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use burn::tensor::Device;
use vipaint::save::{Folder, Saved};
use vipaint::{Amount, Condition, Degradation, Error, Input, Job, Measured, Outcome, Request, Result, priors};
use vipaint_nn::device::{Choice, Kind};

use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::validate::Plan;
use crate::{cli, device, validate};

/// The exit code of work that was interrupted.
const INTERRUPTED: u8 = 130;

/// What all commands share: how results are printed, whether the user asked to stop, and the device.
pub struct Session {
    json: bool,
    interrupt: Interrupt,
    device: Choice,
    /// Whether `--memory` is given.
    memory: bool,
}

impl Session {
    pub fn start(machine: &cli::Machine, device: Choice) -> Result<Self> {
        let cli::Machine { json, memory, .. } = *machine;
        Ok(Self { json, interrupt: Interrupt::listen()?, device, memory: memory.is_some() })
    }

    /// Opens the device.
    fn device(&self) -> Result<Device> {
        device::open(self.device)
    }

    /// For a command that computes on the CPU only, or not at all.
    fn cpu_only(&self, command: &str) -> Result<()> {
        if self.device.kind == Kind::Cpu {
            return Ok(());
        }
        let problem = format!("`vipaint {command}` does not run on {}", self.device);
        Err(Error::usage("--device", problem, "leave it out"))
    }

    /// For a command that nothing can be said to about memory.
    fn no_memory(&self, command: &str) -> Result<()> {
        if !self.memory {
            return Ok(());
        }
        let problem = format!("`vipaint {command}` has nothing to split or to refuse by it");
        Err(Error::usage("--memory", problem, "leave it out; `vipaint prior bench` heeds it"))
    }
}

/// A job, ready to run, with its warnings told.
fn prepare(
    plan: &Plan,
    session: &Session,
    amount: Option<Amount>,
    given: impl FnOnce() -> Result<Input>,
) -> Result<Job> {
    fetch(&plan.prior, session)?;
    let prior = plan.prior.load_on(&session.device()?)?;
    let class = plan.class.as_deref().map(|class| priors::class(&prior, class)).transpose()?;
    let read = |option: &'static str, text: &Option<String>| {
        let read = text.as_deref().map(|text| priors::text(&prior, option, text)).transpose()?;
        for warning in read.iter().flat_map(|read| &read.warnings) {
            eprintln!("warning: {warning}");
        }
        Ok::<_, vipaint::Error>(read.map(|read| read.context))
    };
    let condition = Condition { class, context: read("--prompt", &plan.prompt)? };
    let negative = Condition { class: None, context: read("--negative-prompt", &plan.negative_prompt)? };
    let (settings, seed) = (plan.settings.clone(), plan.seed);
    if settings.cfg_scale != 1.0 && condition == negative {
        eprintln!("warning: --cfg-scale changes nothing without --class or --prompt");
    }
    let mut job = Job::new(Request { given: given()?, prior, condition, negative, settings, seed })?;
    // A fit alone is asked for where nothing is drawn.
    if amount.is_some() && job.suit()? {
        eprintln!("note: samples are guided paths, and nothing is fitted; --set particles=0 fits a posterior");
    }
    tell_about(&job, amount)?;
    Ok(job)
}

/// Fetches a prior from the hub, if that is where it is, with a progress display and Ctrl-C.
fn fetch(prior: &priors::Source, session: &Session) -> Result<()> {
    let mut progress = Progress::new();
    prior.fetch(&mut |step| {
        progress.on_fetch(step);
        session.interrupt.flow()
    })
}

/// What a user should hear before the work starts.
fn tell_about(job: &Job, amount: Option<Amount>) -> Result<()> {
    let (warnings, notes, line) = job.scene().told();
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    for note in notes {
        eprintln!("note: {note}");
    }
    eprintln!("{line}");
    if let Some(told) = job.plan(amount)?.told() {
        eprintln!("{told}");
    }
    Ok(())
}

/// Restores a picture as a whole: what `deblur`, `upscale` and `restore` share.
fn whole(raw: cli::Whole, degradation: Degradation, session: &Session, command: &str) -> Result<ExitCode> {
    let amount = validate::amount(&raw.amount)?;
    let plan = validate::ask(raw.ask)?;
    let folder = Folder::open(&raw.output)?;
    let job =
        prepare(&plan, session, Some(amount), || Ok(Measured::open(&raw.image, degradation, raw.simulate)?.into()))?;
    let outcome = watched(session, |observer| job.run(amount, observer))?;
    conclude(session, &outcome, &folder, command, Some(&plan.prior))
}

/// Runs `work` with a progress display and Ctrl-C.
fn watched(session: &Session, work: impl FnOnce(&mut vipaint::Observer) -> Result<Outcome>) -> Result<Outcome> {
    let mut progress = Progress::new();
    let outcome = work(&mut |event| {
        progress.on(event);
        session.interrupt.flow()
    });
    progress.finish();
    outcome
}

/// Saves what there is and tells about it. `prior` is where the prior came from, if that was said.
fn conclude(
    session: &Session,
    outcome: &Outcome,
    folder: &Folder,
    command: &str,
    prior: Option<&priors::Source>,
) -> Result<ExitCode> {
    let saved = outcome.save(folder, command)?;
    if session.json {
        print_json(&saved.report);
    } else {
        print_summary(outcome, folder, &saved);
    }
    if !outcome.interrupted {
        return Ok(ExitCode::SUCCESS);
    }
    let asked = outcome.amount.map_or(0, |amount| amount.samples);
    let posterior = folder.path().join("posterior.safetensors");
    match outcome.fit {
        Some(_) => eprintln!("interrupted; {}", how_to_resume(outcome, prior, &posterior, asked, folder.path())),
        None => eprintln!(
            "interrupted; {} of {asked} samples are in {}; run the same command again for all of them",
            outcome.samples.len(),
            folder.path().display()
        ),
    }
    Ok(ExitCode::from(INTERRUPTED))
}

fn how_to_resume(
    outcome: &Outcome,
    prior: Option<&priors::Source>,
    posterior: &Path,
    samples: usize,
    folder: &Path,
) -> String {
    let state = match &outcome.fit {
        Some(fit) if !fit.done() => format!("the fit stands at {} of {}", fit.trace.len(), fit.options.iterations),
        _ => format!("the fit is complete, {} of {samples} samples are drawn", outcome.samples.len()),
    };
    let (posterior, folder) = (quoted(&posterior.display().to_string()), quoted(&folder.display().to_string()));
    let prior = match prior {
        Some(priors::Source::File(place)) => format!(" --prior {}", quoted(&place.to_string())),
        Some(priors::Source::Exec(command)) => format!(" --prior {}", quoted(&format!("exec:{command}"))),
        Some(priors::Source::Hub(remote)) => format!(" --prior {}", quoted(&remote.text())),
        Some(priors::Source::Embedded(_)) | None => String::new(),
    };
    format!("{state}; go on with: vipaint sample --posterior {posterior}{prior} -n {samples} -o {folder}")
}

/// As a shell reads it as one word.
fn quoted(word: &str) -> String {
    // Only a NUL cannot be quoted, and no argument holds one.
    shlex::try_quote(word).map_or_else(|_| word.to_owned(), std::borrow::Cow::into_owned)
}

/// Prints a line of results; nobody need be listening (`println` would panic then).
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn print_json(value: &serde_json::Value) {
    // A value always serialises.
    say(&serde_json::to_string_pretty(value).unwrap_or_default());
}

fn print_summary(outcome: &Outcome, folder: &Folder, saved: &Saved) {
    let (fitting, sampling) = (&outcome.fitting, &outcome.sampling);
    if let Some(terms) = outcome.fit.as_ref().and_then(|fit| fit.trace.last()) {
        say(&format!(
            "fit       {:6.1} s, {} calls, {} with gradients; bound {:.1} nats",
            fitting.seconds,
            fitting.calls.denoiser,
            fitting.calls.vjp,
            terms.total()
        ));
    }
    say(&format!(
        "sampling  {:6.1} s, {} calls, {} with gradients; {} samples",
        sampling.seconds,
        sampling.calls.denoiser,
        sampling.calls.vjp,
        outcome.samples.len()
    ));
    let near = &saved.report["against_truth"];
    if let (Some(psnr), Some(ssim)) = (near["psnr_of_mean"].as_f64(), near["ssim_of_mean"].as_f64()) {
        say(&format!("truth     the mean has a PSNR of {psnr:.2} dB and an SSIM of {ssim:.3}"));
    }
    let grid = folder.path().join("grid.png");
    if saved.files.contains(&grid) {
        say(&format!("look at   {}", grid.display()));
    }
    say(&format!("details   {}", folder.path().join("report.json").display()));
}
