//! Files from a Python package index, named and hashed beforehand.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::checksum::{Checksum, Tally};
use crate::client::{Client, Failure, host};
use crate::error::{Error, Result};
use crate::event::{Observer, Teller};
use crate::http::Address;
use crate::settings::Network;
use crate::transfer::{Item, download};

/// The public index.
const INDEX: &str = "https://pypi.org/simple";
/// Bytes of an index page, more than any project's has.
const LONGEST_PAGE: u64 = 16 << 20;

/// A file of a package.
#[derive(Debug, Clone, Copy)]
pub struct Wheel<'a> {
    /// The package's name in the index.
    pub package: &'a str,
    /// The file's name.
    pub file: &'a str,
    /// Its SHA-256, in lower-case hexadecimal digits.
    pub sha256: &'a str,
    /// Its bytes.
    pub size: u64,
}

#[derive(Deserialize)]
struct Page {
    files: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    filename: String,
    url: String,
}

impl Wheel<'_> {
    /// Brings the file to a folder, unless it is there, and checks it either way. The index is `PIP_INDEX_URL`, if that is set, and
    /// certificates and proxy are those of [`crate::Settings`].
    ///
    /// # Errors
    /// See [`Error`]; what has arrived is kept and used the next time.
    pub fn fetch(&self, folder: &Path, observer: &mut Observer) -> Result<PathBuf> {
        let index = std::env::var("PIP_INDEX_URL").ok().filter(|index| !index.is_empty());
        let certificates = std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()).map(PathBuf::from);
        let network = Network { certificates, ..Network::default() };
        self.fetch_from(index.as_deref().unwrap_or(INDEX), &network, folder, observer)
    }

    /// [`Self::fetch`] from a given index.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn fetch_from(
        &self,
        index: &str,
        network: &Network,
        folder: &Path,
        observer: &mut Observer,
    ) -> Result<PathBuf> {
        let path = folder.join(self.file);
        if self.is_at(&path)? {
            return Ok(path);
        }
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let client = Client::new(network, None)?;
        let page = format!("{}/{}/", index.trim_end_matches('/'), self.package);
        let mut teller = Teller::new(observer);
        let accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5";
        let text = client.retrying(&mut teller, || client.text(&page, accept, LONGEST_PAGE));
        let text = text.map_err(Failure::plain)?;
        let lacks = || Error::Answer {
            host: host(&page),
            problem: format!("its page of {} lacks {}", self.package, self.file),
        };
        let url = Address::parse(&page)?.join(&link(&text, self.file).ok_or_else(lacks)?)?.to_string();
        teller.expect(self.size);
        teller.begin(self.file, 0);
        let checksum = Checksum::of_etag(self.sha256);
        let item = Item { url: &url, name: self.file, size: self.size, checksum: &checksum };
        let part = folder.join(format!("{}.incomplete", self.file));
        download(&client, &item, &part, &mut teller).map_err(Failure::plain)?;
        std::fs::rename(&part, &path).map_err(Error::io(&path))?;
        Ok(path)
    }

    /// Whether the file is at a path, whole.
    ///
    /// # Errors
    /// [`Error::Io`] when it is there and cannot be read.
    pub fn is_at(&self, path: &Path) -> Result<bool> {
        if !path.is_file() {
            return Ok(false);
        }
        let checksum = Checksum::of_etag(self.sha256);
        let mut tally = Tally::new(&checksum, self.size);
        let file = std::fs::File::open(path).map_err(Error::io(path))?;
        tally.read(file).map_err(Error::io(path))?;
        Ok(tally.check(&checksum, self.size).is_ok())
    }
}

/// Where an index page, JSON or HTML, says that a file is.
fn link(page: &str, file: &str) -> Option<String> {
    if let Ok(page) = serde_json::from_str::<Page>(page) {
        return page.files.into_iter().find(|link| link.filename == file).map(|link| link.url);
    }
    let links = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let named = |link: &&str| link.split(['#', '?']).next().is_some_and(|path| path.rsplit('/').next() == Some(file));
    links.filter(named).map(|link| link.replace("&amp;", "&")).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_pages_are_read() {
        let json =
            r#"{"files": [{"filename": "a-1.whl", "url": "https://x/a-1.whl"}, {"filename": "b.whl", "url": "b"}]}"#;
        assert_eq!(link(json, "a-1.whl").as_deref(), Some("https://x/a-1.whl"));
        let html = r#"<a href="../../p/aa-1.whl#sha256=0">aa-1</a> <a href="../../p/a-1.whl?x=1&amp;y=2#sha256=0">a-1.whl</a>"#;
        assert_eq!(link(html, "a-1.whl").as_deref(), Some("../../p/a-1.whl?x=1&y=2#sha256=0"));
        assert_eq!(link(html, "c.whl"), None);
    }
}
