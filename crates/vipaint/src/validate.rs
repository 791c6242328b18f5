//! From arguments as they are written to arguments that make sense. No file is read here.

use std::path::Path;

use vipaint::save::Folder;
use vipaint::{Amount, Error, Preset, Result, Settings, memory, parse_noise, picture, priors};

use vipaint_core::operator::Shrink;
use vipaint_kernels::Version;

use crate::cli;

/// What [`cli::Ask`] means.
pub struct Plan {
    pub prior: priors::Source,
    pub class: Option<String>,
    pub prompt: Option<String>,
    pub negative_prompt: Option<String>,
    pub settings: Settings,
    pub seed: u64,
}

pub fn ask(raw: cli::Ask) -> Result<Plan> {
    let preset = match raw.preset {
        cli::Preset::Fast => Preset::Fast,
        cli::Preset::Balanced => Preset::Balanced,
        cli::Preset::Best => Preset::Best,
        cli::Preset::PublishedLdm => Preset::PublishedLdm,
        cli::Preset::PublishedSd3 => Preset::PublishedSd3,
    };
    let mut sets = raw.sets.iter().map(|pair| key_value(pair)).collect::<Result<Vec<_>>>()?;
    if let Some(scale) = raw.cfg_scale {
        sets.push(("cfg_scale".into(), scale.to_string()));
    }
    let settings = Settings::new(&raw.method, preset, &sets, parse_noise(&raw.noise)?)?;
    if raw.negative_prompt.is_some() && settings.cfg_scale == 1.0 {
        let problem = "has no effect at --cfg-scale 1";
        return Err(Error::usage("--negative-prompt", problem, "add --cfg-scale 3"));
    }
    Ok(Plan {
        prior: priors::Source::named(&raw.prior)?,
        class: raw.class,
        prompt: raw.prompt,
        negative_prompt: raw.negative_prompt,
        settings,
        seed: raw.seed,
    })
}

fn key_value(pair: &str) -> Result<(String, String)> {
    match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.into(), value.into())),
        _ => Err(Error::usage("--set", format!("{pair:?} is not of the form key=value"), "write --set iterations=100")),
    }
}

pub fn amount(raw: &cli::Amount) -> Result<Amount> {
    const MOST: usize = 100_000;
    for (option, value) in [("-n", raw.samples), ("--batch", raw.batch)] {
        if !(1..=MOST).contains(&value) {
            return Err(Error::usage(option, format!("must be between 1 and {MOST}, not {value}"), "8 is the default"));
        }
    }
    Ok(Amount { samples: raw.samples, batch: raw.batch })
}

pub fn keep(raw: cli::Keep) -> picture::Keep {
    match raw {
        cli::Keep::White => picture::Keep::White,
        cli::Keep::Black => picture::Keep::Black,
    }
}

pub fn shrink(raw: cli::Shrink) -> Shrink {
    match raw {
        cli::Shrink::Box => Shrink::Box,
        cli::Shrink::Bicubic => Shrink::Bicubic,
    }
}

/// Checks that a file can be written where an option says, making its folder, which is to be held until it is.
pub fn writable(option: &str, path: &Path) -> Result<Folder> {
    if path.is_dir() {
        let problem = format!("{} is a folder", path.display());
        return Err(Error::usage(option, problem, "give the name of a file in it"));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Folder::open_for(option, folder)
}

/// Sets the number of threads.
pub fn machine(raw: &cli::Machine) -> Result<()> {
    if let Ok(version) = std::env::var(Version::VARIABLE)
        && Version::named(&version).is_none()
    {
        let problem = format!("there are no kernels {version:?}");
        return Err(Error::usage(
            Version::VARIABLE,
            problem,
            "known: portable, avx2, avx512, amx; the processor's best if unset",
        ));
    }
    if let Some(gib) = raw.memory {
        if !(gib > 0.0 && gib <= 1e6) {
            return Err(Error::usage(
                "--memory",
                format!("must be a positive number of GiB, not {gib}"),
                "leave it out",
            ));
        }
        memory::limit((gib * f64::from(1 << 30)) as u64);
    }
    let Some(threads) = raw.threads else { return Ok(()) };
    if !(1..=1024).contains(&threads) {
        return Err(Error::usage("--threads", format!("must be between 1 and 1024, not {threads}"), "leave it out"));
    }
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|error| Error::Resource {
        what: "--threads".into(),
        problem: format!("{threads} threads cannot be started ({error})"),
        remedy: "take fewer".into(),
    })
}
