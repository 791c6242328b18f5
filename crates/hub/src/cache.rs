//! The hub's cache as its other tools lay it out: `models--ORG--REPO/{blobs,refs,snapshots}`.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};

use crate::error::{Error, Result};
use crate::reference::{Reference, is_commit};

/// Deeper than any repository of models is.
const DEPTH: usize = 8;

/// A repository's part of the cache.
pub(crate) struct Store {
    repo: CacheRepo,
    root: PathBuf,
    locks: PathBuf,
    revision: String,
}

impl Store {
    /// Where the files of a repository are, or will be. Nothing is written yet.
    pub fn new(cache: &Path, reference: &Reference) -> Self {
        let (name, revision) = (reference.repo.clone(), reference.revision.clone());
        let repo = Repo::with_revision(name, RepoType::Model, revision.clone());
        let folder = repo.folder_name();
        let (root, locks) = (cache.join(&folder), cache.join(".locks").join(folder));
        Self { repo: Cache::new(cache.to_path_buf()).repo(repo), root, locks, revision }
    }

    /// The commit that the revision was the last time.
    pub fn commit(&self) -> Option<String> {
        if is_commit(&self.revision) {
            return Some(self.revision.clone());
        }
        let text = fs::read_to_string(self.root.join("refs").join(&self.revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// Notes the commit that the revision is now.
    pub fn remember(&self, commit: &str) -> Result<()> {
        if is_commit(&self.revision) {
            return Ok(());
        }
        self.repo.create_ref(commit).map_err(Error::io(self.root.join("refs").join(&self.revision)))
    }

    /// The folder with a commit's files.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.repo.pointer_path(commit)
    }

    /// The files of a commit that are there, whole.
    pub fn files(&self, commit: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(&self.snapshot(commit), "", DEPTH, &mut found);
        found
    }

    /// Where a file's content is kept; its name is the file's ETag.
    pub fn blob(&self, etag: &str) -> Result<PathBuf> {
        let folder = self.root.join("blobs");
        fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        Ok(folder.join(etag))
    }

    /// Waits until nobody else brings the same content; the lock ends with the file.
    pub fn lock(&self, etag: &str) -> Result<File> {
        fs::create_dir_all(&self.locks).map_err(Error::io(&self.locks))?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::create(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// Gives a blob its name in a commit.
    pub fn link(&self, blob: &Path, commit: &str, name: &str) -> Result<()> {
        let path = self.snapshot(commit).join(name);
        if path.exists() {
            return Ok(());
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        if path.is_symlink() {
            fs::remove_file(&path).map_err(Error::io(&path))?; // It leads nowhere.
        }
        make_link(blob, &path, name.split('/').count()).map_err(Error::io(&path))
    }
}

/// A relative link, so that the cache can be moved; `depth` is the number of parts of the file's name.
#[cfg(unix)]
fn make_link(blob: &Path, path: &Path, depth: usize) -> std::io::Result<()> {
    let up = "../".repeat(depth + 1); // to the folder of snapshots, and to its parent
    let blob = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
    std::os::unix::fs::symlink(blob, path)
}

/// Links need privileges elsewhere: the content moves, as with Python's client.
#[cfg(not(unix))]
fn make_link(blob: &Path, path: &Path, _depth: usize) -> std::io::Result<()> {
    fs::rename(blob, path)
}

fn walk(folder: &Path, prefix: &str, depth: usize, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, name) = (entry.path(), format!("{prefix}{name}"));
        if path.is_file() {
            found.insert(name);
        } else if path.is_dir() && depth > 1 {
            walk(&path, &format!("{name}/"), depth - 1, found);
        }
    }
}
