//! What `hf:ORG/REPO[/FILE][@REVISION]` means.

use std::fmt;
use std::path::{Component, Path};

use crate::error::{Error, Result};

/// A repository of models, a revision of it, and perhaps one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// `ORG/REPO`.
    pub repo: String,
    /// A branch, a tag or a commit; `main` unless said otherwise.
    pub revision: String,
    /// The one file that is meant, if it is not the whole prior.
    pub file: Option<String>,
}

impl Reference {
    /// The scheme before the name.
    pub const SCHEME: &'static str = "hf:";

    /// Reads `ORG/REPO[/FILE][@REVISION]`, with or without `hf:` before it.
    ///
    /// # Errors
    /// [`Error::Reference`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |problem| Error::Reference { text: text.to_owned(), problem };
        let rest = text.strip_prefix(Self::SCHEME).unwrap_or(text).trim();
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let mut parts = path.splitn(3, '/');
        let (org, name, file) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
        if ![org, name].into_iter().all(is_name) {
            return Err(wrong("is not of the form ORG/REPO (letters, digits, '-', '_' and '.')"));
        }
        if !is_relative(revision) || revision.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(wrong("names no revision after '@'"));
        }
        if file.is_some_and(|file| !is_relative(file)) {
            return Err(wrong("names no file after the repository"));
        }
        Ok(Self { repo: format!("{org}/{name}"), revision: revision.to_owned(), file: file.map(str::to_owned) })
    }

    /// Whether the revision is a commit, which cannot change.
    pub(crate) fn is_commit(&self) -> bool {
        is_commit(&self.revision)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::SCHEME, self.repo)?;
        self.file.iter().try_for_each(|file| write!(f, "/{file}"))?;
        if self.revision == "main" { Ok(()) } else { write!(f, "@{}", self.revision) }
    }
}

/// A full commit hash.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// A part of a repository's name as the hub allows it.
fn is_name(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty() && text.len() <= 96 && !text.starts_with(['.', '-']) && text.chars().all(inside)
}

/// A path that stays inside the folder it is joined to, on every system.
pub(crate) fn is_relative(text: &str) -> bool {
    let normal = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
    let same = !text.split('/').any(|part| matches!(part, "" | "." | ".."));
    normal && same && text.len() <= 1024 && !text.contains(['\\', ':', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, repo, revision, file) in [
            ("hf:google/ddpm-cat-256", "google/ddpm-cat-256", "main", None),
            ("hf:a/b.c@refs/pr/3", "a/b.c", "refs/pr/3", None),
            ("hf:a/b/weights/v1.ckpt@v1.5", "a/b", "v1.5", Some("weights/v1.ckpt")),
        ] {
            let read = Reference::parse(text).unwrap();
            assert_eq!((read.repo.as_str(), read.revision.as_str(), read.file.as_deref()), (repo, revision, file));
            assert_eq!(read.to_string(), text);
        }
    }

    #[test]
    fn what_leaves_the_cache_or_names_nothing_is_refused() {
        let bad = [
            "hf:",
            "hf:gpt2",
            "hf:a/",
            "hf:/b",
            "hf:../b",
            "hf:a/..",
            "hf:a/b@",
            "hf:a/b@../x",
            "hf:a/b@/x",
            "hf:a/b/../../c",
            "hf:a/b//c",
            "hf:a/b/c:d",
            "hf:a/b/c\\d",
            "hf:a b/c",
            "hf:a/b@x y",
            "hf:a/b/.",
            "hf:a?x/b",
            "hf:a/b/@main",
        ];
        for text in bad {
            assert!(Reference::parse(text).is_err(), "{text}");
        }
    }
}
