//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why files could not be brought.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text names no repository.
    #[error("{text:?} {problem}")]
    Reference {
        /// The text.
        text: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// An environment variable makes no sense. Its value is not repeated: it may be a secret.
    #[error("{name} {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The hub does not have it.
    #[error("the hub has no {0}")]
    Missing(Missing),
    /// The hub does not let us have it.
    #[error("the hub refuses {repo} ({reason})")]
    Denied {
        /// The repository.
        repo: String,
        /// Why.
        reason: Denial,
        /// Whether a token was sent.
        token: bool,
    },
    /// It is not in the cache, and the network must not be used.
    #[error("{what} is not in the cache {}, and HF_HUB_OFFLINE is set", cache.display())]
    Offline {
        /// What was asked for.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// No answer, or none that was whole.
    #[error("{host} cannot be reached ({problem})")]
    Unreachable {
        /// The server.
        host: String,
        /// What happened.
        problem: String,
    },
    /// The server answers that it is too busy.
    #[error("{host} is busy (status {status})")]
    Busy {
        /// The server.
        host: String,
        /// Its answer.
        status: u16,
        /// How long it asks to wait, in seconds.
        wait: Option<u64>,
    },
    /// The server's answer makes no sense.
    #[error("{host} gave an answer that cannot be used ({problem})")]
    Answer {
        /// The server.
        host: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What arrived, twice, is not what was announced.
    #[error("{file} arrived damaged ({problem})")]
    Damaged {
        /// The file.
        file: String,
        /// What differs.
        problem: String,
    },
    /// The repository does not hold one thing that can be used.
    #[error("{repo} {problem}")]
    Choice {
        /// The repository.
        repo: String,
        /// What is wrong.
        problem: String,
        /// Files of which one could be named.
        candidates: Vec<String>,
    },
    /// A file cannot be written or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The observer stopped the work; what has arrived is kept.
    #[error("interrupted")]
    Interrupted,
}

/// What the hub does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A repository (or it is private).
    Repository(String),
    /// A revision of it.
    Revision {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// One of the two.
    Either {
        /// The repository.
        repo: String,
        /// The revision.
        revision: String,
    },
    /// A file.
    File {
        /// The repository.
        repo: String,
        /// The file.
        file: String,
    },
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repository(repo) => write!(f, "repository {repo}, or it is private"),
            Self::Revision { repo, revision } => write!(f, "revision {revision:?} of {repo}"),
            Self::Either { repo, revision } => write!(f, "repository {repo}, or not its revision {revision:?}"),
            Self::File { repo, file } => write!(f, "file {file} in {repo}"),
        }
    }
}

/// Why the hub refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Its conditions must be accepted on its page first.
    Gated,
    /// The token is not good for it, or there is none.
    Token,
}

impl std::fmt::Display for Denial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gated => "it is gated",
            Self::Token => "it is private, or the token is not good for it",
        })
    }
}

impl Error {
    /// Something about a file.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// Whether there was no room for a file.
    pub fn is_disk_full(&self) -> bool {
        let full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
        matches!(self, Self::Io { source, .. } if full.contains(&source.kind()))
    }
}

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_told_from_other_failures() {
        let write = |path: &str| Error::io(path)(std::fs::write(path, [0; 4096]).unwrap_err());
        assert!(write("/dev/full").is_disk_full());
        assert!(!write("/no/such/folder/file").is_disk_full());
    }
}
