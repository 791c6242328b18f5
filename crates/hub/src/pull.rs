//! From a reference to files in the cache.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::cache::Store;
use crate::choose::{Choice, NoChoice, PIPELINE, Precision, choose};
use crate::client::{Client, Failure, host};
use crate::error::{Denial, Error, Missing, Result};
use crate::event::{Observer, Teller};
use crate::listing::{Head, Listing};
use crate::reference::Reference;
use crate::settings::Settings;
use crate::transfer::{Item, download};

/// Bytes of a list of files, more than any has.
const LONGEST_LIST: u64 = 64 << 20;

/// What was asked for, in the cache.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The checkpoint or the folder.
    pub path: PathBuf,
    /// The revision's commit.
    pub commit: String,
    /// The files.
    pub files: Vec<PulledFile>,
}

/// A file in the cache.
#[derive(Debug, Clone)]
pub struct PulledFile {
    /// Its name in the repository.
    pub name: String,
    /// Its bytes.
    pub size: u64,
    /// How it was checked as it arrived (`sha256`, `git` for its git hash, or `size`); none if it was there.
    pub checked: Option<&'static str>,
}

/// Brings a prior's files into the cache, those that are not there.
///
/// # Errors
/// See [`Error`]; what has arrived is kept and used the next time.
pub fn pull(
    reference: &Reference,
    precision: Precision,
    settings: &Settings,
    observer: &mut Observer,
) -> Result<Pulled> {
    let session = Session::new(reference, settings)?;
    if settings.offline {
        let (commit, choice) = session.cached().ok_or_else(|| session.offline())?;
        return session.pulled(&commit, &choice, &[]);
    }
    let mut teller = Teller::new(observer);
    let listing = session.listing(&mut teller)?;
    session.pull(&listing, precision, &mut teller)
}

/// The path of a prior's files: those in the cache, of whatever precision, if they are those of the revision, and else those
/// that the hub has. Without a network, what was fetched before serves.
///
/// # Errors
/// See [`Error`].
pub fn resolve(reference: &Reference, settings: &Settings, observer: &mut Observer) -> Result<PathBuf> {
    let session = Session::new(reference, settings)?;
    let cached = session.cached();
    let path = |(commit, choice): (String, Choice)| session.path(&commit, &choice);
    if let Some(cached) = cached.clone().filter(|_| settings.offline || reference.is_commit()) {
        return Ok(path(cached));
    }
    if settings.offline {
        return Err(session.offline());
    }
    let mut teller = Teller::new(observer);
    let listing = match (session.listing(&mut teller), cached) {
        (Err(Error::Unreachable { host, problem }), Some(cached)) => {
            teller
                .note(format!("{host} cannot be reached ({problem}); {reference} is taken as it was fetched before"))?;
            return Ok(path(cached));
        }
        (listing, _) => listing?,
    };
    if let Some(choice) = session.whole(&listing.commit) {
        session.store.remember(&listing.commit)?;
        return Ok(session.path(&listing.commit, &choice));
    }
    Ok(session.pull(&listing, Precision::Full, &mut teller)?.path)
}

struct Session<'a> {
    reference: &'a Reference,
    settings: &'a Settings,
    client: Client,
    store: Store,
}

impl<'a> Session<'a> {
    fn new(reference: &'a Reference, settings: &'a Settings) -> Result<Self> {
        let token = settings.token.as_ref().map(|token| (token, settings.endpoint.as_str()));
        let client = Client::new(&settings.network, token)?;
        Ok(Self { reference, settings, client, store: Store::new(&settings.cache, reference) })
    }

    /// What the cache has of the revision as it was the last time, if it is all.
    fn cached(&self) -> Option<(String, Choice)> {
        let commit = self.store.commit()?;
        let choice = self.whole(&commit)?;
        Some((commit, choice))
    }

    /// What the cache has of a commit, if it is all.
    fn whole(&self, commit: &str) -> Option<Choice> {
        let names = self.store.files(commit);
        let pipeline = self.pipeline(commit, &names).ok()?;
        choose(&names, pipeline.as_ref(), self.reference.file.as_deref(), Precision::Full).ok()
    }

    /// The content of [`PIPELINE`] in the cache, if the repository has that and all of it is wanted.
    fn pipeline(&self, commit: &str, names: &BTreeSet<String>) -> Result<Option<Value>> {
        if self.reference.file.is_some() || !names.contains(PIPELINE) {
            return Ok(None);
        }
        let path = self.store.snapshot(commit).join(PIPELINE);
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let wrong = |error| self.answer(format!("{PIPELINE}: {error}"));
        serde_json::from_str(&text).map(Some).map_err(wrong)
    }

    fn listing(&self, teller: &mut Teller) -> Result<Listing> {
        let (endpoint, repo) = (&self.settings.endpoint, &self.reference.repo);
        let url = format!("{endpoint}/api/models/{repo}/revision/{}", escape(&self.reference.revision, false));
        let text = self.client.retrying(teller, || self.client.text(&url, "application/json", LONGEST_LIST));
        let text = text.map_err(|failure| self.explain(failure, None))?;
        Listing::parse(&text).map_err(|problem| self.answer(problem))
    }

    fn pull(&self, listing: &Listing, precision: Precision, teller: &mut Teller) -> Result<Pulled> {
        let commit = &listing.commit;
        let mut fetched = Vec::new();
        if self.reference.file.is_none() && listing.names.contains(PIPELINE) {
            fetched.extend(self.fetch_all(commit, &[PIPELINE.to_owned()], teller)?);
        }
        let pipeline = self.pipeline(commit, &listing.names)?;
        let choice = choose(&listing.names, pipeline.as_ref(), self.reference.file.as_deref(), precision);
        let choice = choice.map_err(|no| self.no_choice(no))?;
        if !choice.full.is_empty() {
            teller.note(format!("there is no fp16 variant of {}: full precision is taken", choice.full.join(", ")))?;
        }
        fetched.extend(self.fetch_all(commit, &choice.files, teller)?);
        self.store.remember(commit)?;
        self.pulled(commit, &choice, &fetched)
    }

    /// Brings those of a commit's files that are not there; returns them and how they were checked.
    fn fetch_all(&self, commit: &str, names: &[String], teller: &mut Teller) -> Result<Vec<(String, &'static str)>> {
        let snapshot = self.store.snapshot(commit);
        let (mut wanted, mut done) = (Vec::new(), 0);
        for name in names {
            if let Ok(there) = std::fs::metadata(snapshot.join(name)) {
                done += there.len();
                continue;
            }
            let url = self.url(commit, name);
            let head = self.client.retrying(teller, || self.client.head(&url));
            let head = head.map_err(|failure| self.explain(failure, Some(name)))?;
            wanted.push((name, Head::read(&head).map_err(|problem| self.answer(format!("{problem}: {name}")))?));
        }
        teller.expect(done + wanted.iter().map(|(_, head)| head.size).sum::<u64>());
        let mut fetched = Vec::new();
        for (name, head) in wanted {
            teller.begin(name, done);
            if self.fetch(commit, name, &head, teller)? {
                fetched.push((name.clone(), head.checksum.kind()));
            }
            done += head.size;
        }
        Ok(fetched)
    }

    /// Brings a file, unless its content is there under another name.
    fn fetch(&self, commit: &str, name: &str, head: &Head, teller: &mut Teller) -> Result<bool> {
        let _lock = self.store.lock(&head.etag)?;
        let blob = self.store.blob(&head.etag)?;
        let new = !blob.is_file();
        if new {
            let part = blob.with_extension("incomplete");
            let url = self.url(commit, name);
            let item = Item { url: &url, name, size: head.size, checksum: &head.checksum };
            download(&self.client, &item, &part, teller).map_err(|failure| self.explain(failure, Some(name)))?;
            std::fs::rename(&part, &blob).map_err(Error::io(&blob))?;
        }
        self.store.link(&blob, commit, name)?;
        Ok(new)
    }

    fn url(&self, commit: &str, name: &str) -> String {
        format!("{}/{}/resolve/{commit}/{}", self.settings.endpoint, self.reference.repo, escape(name, true))
    }

    fn path(&self, commit: &str, choice: &Choice) -> PathBuf {
        let snapshot = self.store.snapshot(commit);
        if choice.target.is_empty() { snapshot } else { snapshot.join(&choice.target) }
    }

    fn pulled(&self, commit: &str, choice: &Choice, fetched: &[(String, &'static str)]) -> Result<Pulled> {
        let snapshot = self.store.snapshot(commit);
        let file = |name: &String| {
            let path = snapshot.join(name);
            let size = std::fs::metadata(&path).map_err(Error::io(&path))?.len();
            let checked = fetched.iter().find(|(fetched, _)| fetched == name).map(|(_, how)| *how);
            Ok(PulledFile { name: name.clone(), size, checked })
        };
        let files = choice.files.iter().map(file).collect::<Result<_>>()?;
        Ok(Pulled { path: self.path(commit, choice), commit: commit.to_owned(), files })
    }

    fn offline(&self) -> Error {
        Error::Offline { what: self.reference.to_string(), cache: self.settings.cache.clone() }
    }

    fn no_choice(&self, NoChoice { problem, candidates }: NoChoice) -> Error {
        Error::Choice { repo: self.reference.repo.clone(), problem, candidates }
    }

    fn answer(&self, problem: String) -> Error {
        Error::Answer { host: host(&self.settings.endpoint), problem }
    }

    /// What a failure means for the repository, or for a file of it.
    fn explain(&self, failure: Failure, file: Option<&str>) -> Error {
        let Failure::Status { status, code, .. } = &failure else { return failure.plain() };
        let (repo, revision) = (self.reference.repo.clone(), self.reference.revision.clone());
        let denied = |reason| Error::Denied { repo: repo.clone(), reason, token: self.settings.token.is_some() };
        match (status, code.as_str(), file) {
            (401 | 403, "GatedRepo", _) => denied(Denial::Gated),
            (401 | 404, "RepoNotFound", _) => Error::Missing(Missing::Repository(repo)),
            (401 | 403, ..) => denied(Denial::Token),
            (404, "RevisionNotFound", _) => Error::Missing(Missing::Revision { repo, revision }),
            (404, _, Some(file)) => Error::Missing(Missing::File { repo, file: file.to_owned() }),
            (404, ..) => Error::Missing(Missing::Either { repo, revision }),
            _ => failure.plain(),
        }
    }
}

/// A name as a part of an address; slashes stay if they separate folders.
fn escape(name: &str, folders: bool) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (folders && byte == b'/');
    name.bytes().fold(String::new(), |text, byte| {
        if plain(byte) { text + &char::from(byte).to_string() } else { text + &format!("%{byte:02X}") }
    })
}
