//! What the hub says about a revision and about a file.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::checksum::Checksum;
use crate::http::Response;
use crate::reference::{is_commit, is_relative};

/// A revision of a repository.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Its commit.
    pub commit: String,
    /// Its files.
    pub names: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Raw {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

impl Listing {
    /// From the answer of `/api/models/ORG/REPO/revision/REVISION`. Names that would leave the cache are left out.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: Raw = serde_json::from_str(text).map_err(|error| format!("not a list of files: {error}"))?;
        if !is_commit(&raw.sha) {
            return Err("it names no commit".into());
        }
        let names = raw.siblings.into_iter().map(|file| file.rfilename).filter(|name| is_relative(name));
        Ok(Self { commit: raw.sha, names: names.collect() })
    }
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Its ETag, the name of its content.
    pub etag: String,
    /// Its bytes.
    pub size: u64,
    /// What it should hold.
    pub checksum: Checksum,
}

impl Head {
    /// From the headers of its address. Those of large-file storage (`x-linked-...`) count more than those of the answer,
    /// which are the redirect's own.
    pub fn read(response: &Response) -> Result<Self, String> {
        Self::of(|name| response.field(name))
    }

    fn of<'a>(text: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let etag = text("x-linked-etag").or_else(|| text("etag")).ok_or("a file without an ETag")?;
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if etag.is_empty() || etag.len() > 128 || !etag.chars().all(named) {
            return Err("a file with a strange ETag".into());
        }
        let size = text("x-linked-size").or_else(|| text("content-length")).and_then(|size| size.parse().ok());
        let size = size.ok_or("a file without a size")?;
        Ok(Self { etag: etag.to_owned(), size, checksum: Checksum::of_etag(etag) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn names_that_leave_the_cache_are_left_out() {
        let names = ["../x", "/etc/passwd", "a/../../b", "c:/d", "e\\f", "", "unet/config.json"];
        let files: Vec<_> = names.iter().map(|name| serde_json::json!({ "rfilename": name })).collect();
        let listing = Listing::parse(&serde_json::json!({ "sha": COMMIT, "siblings": files }).to_string()).unwrap();
        assert_eq!(listing.names.into_iter().collect::<Vec<_>>(), ["unet/config.json"]);
        for text in ["", "{}", "[1]", r#"{"sha":"../..","siblings":[]}"#] {
            assert!(Listing::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_linked_file_counts_more_than_the_redirect() {
        let of = |pairs: &[(&str, &'static str)]| {
            Head::of(|name| pairs.iter().find(|(field, _)| *field == name).map(|(_, value)| *value))
        };
        let head = of(&[
            ("etag", "\"redirect\""),
            ("content-length", "17"),
            ("x-linked-etag", "\"abc-1\""),
            ("x-linked-size", "4000000000"),
        ]);
        assert_eq!(head, Ok(Head { etag: "abc-1".into(), size: 4_000_000_000, checksum: Checksum::Unknown }));
        assert_eq!(of(&[("etag", "W/\"e\""), ("content-length", "17")]).unwrap().etag, "e");
        for bad in
            [&[("etag", "\"../x\""), ("content-length", "1")][..], &[("etag", "\"e\"")], &[("content-length", "1")]]
        {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
