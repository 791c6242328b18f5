//! Whether what arrived is what was announced.

use std::fmt::Write as _;
use std::io::Read;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// What a file's ETag on the hub says about its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// SHA-256, of files in large-file storage.
    Sha256(String),
    /// Git's name of the file: SHA-1 of `blob LENGTH\0` and the content.
    Git(String),
    /// Nothing.
    Unknown,
}

impl Checksum {
    /// From an ETag without its quotes: its length tells.
    pub fn of_etag(etag: &str) -> Self {
        let hex = etag.bytes().all(|byte| byte.is_ascii_hexdigit());
        match etag.len() {
            64 if hex => Self::Sha256(etag.to_ascii_lowercase()),
            40 if hex => Self::Git(etag.to_ascii_lowercase()),
            _ => Self::Unknown,
        }
    }

    /// What was checked, in a word.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Git(_) => "git",
            Self::Unknown => "size",
        }
    }
}

/// The checksum of bytes as they arrive.
pub(crate) struct Tally {
    hash: Hash,
    /// Bytes so far.
    pub length: u64,
}

enum Hash {
    Sha256(Sha256),
    Git(Sha1),
    None,
}

impl Tally {
    /// Nothing yet of a file that will have `size` bytes.
    pub fn new(expected: &Checksum, size: u64) -> Self {
        let hash = match expected {
            Checksum::Sha256(_) => Hash::Sha256(Sha256::new()),
            Checksum::Git(_) => Hash::Git(Sha1::new().chain_update(format!("blob {size}\0"))),
            Checksum::Unknown => Hash::None,
        };
        Self { hash, length: 0 }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.hash {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Git(hash) => hash.update(bytes),
            Hash::None => {}
        }
        self.length += bytes.len() as u64;
    }

    /// Adds all that `reader` has.
    pub fn read(&mut self, mut reader: impl Read) -> std::io::Result<()> {
        let mut buffer = vec![0; 1 << 20];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(()),
                n => self.update(&buffer[..n]),
            }
        }
    }

    /// Compares; the error says what differs.
    pub fn check(self, expected: &Checksum, size: u64) -> Result<(), String> {
        if self.length != size {
            return Err(format!("{} bytes instead of {size}", self.length));
        }
        let got = match self.hash {
            Hash::Sha256(hash) => hex(&hash.finalize()),
            Hash::Git(hash) => hex(&hash.finalize()),
            Hash::None => return Ok(()),
        };
        match expected {
            Checksum::Sha256(wanted) | Checksum::Git(wanted) if *wanted != got => {
                Err(format!("its {} is {got} instead of {wanted}", expected.kind()))
            }
            _ => Ok(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // Writing to a string cannot fail.
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(etag: &str, bytes: &[u8], size: u64) -> Result<(), String> {
        let expected = Checksum::of_etag(etag);
        let mut tally = Tally::new(&expected, size);
        bytes.chunks(2).for_each(|part| tally.update(part));
        tally.check(&expected, size)
    }

    #[test]
    fn known_values() {
        // `printf abc | sha256sum` and `printf abc | git hash-object --stdin`.
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let git = "f2ba8f84ab5c1bce84a7b441cb1959cfc7093b7f";
        for etag in [sha256, git] {
            assert_eq!(check(etag, b"abc", 3), Ok(()));
            assert!(check(etag, b"abd", 3).unwrap_err().contains(etag));
            assert!(check(etag, b"abcd", 3).unwrap_err().contains("4 bytes"));
        }
        assert_eq!(check("W-whatever", b"abd", 3), Ok(()));
    }
}
