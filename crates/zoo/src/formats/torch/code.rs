//! The bytes of a pickle, one instruction after the other.

use crate::formats::error::{FormatError, Result};

/// Longest module or function name.
const MAX_NAME: usize = 512;

/// A cursor over a pickle.
pub(super) struct Code<'a> {
    bytes: &'a [u8],
    pub at: usize,
}

impl<'a> Code<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// A complaint about this place.
    pub fn error<T>(&self, problem: impl Into<String>) -> Result<T> {
        Err(FormatError::Pickle { at: self.at, problem: problem.into() })
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let bytes = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let Some(bytes) = bytes else { return self.error("the file ends inside an instruction") };
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        match self.take(N)?.first_chunk() {
            Some(array) => Ok(*array),
            None => self.error("the file ends inside an instruction"),
        }
    }

    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A length of eight bytes.
    pub fn length(&mut self) -> Result<usize> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).or_else(|_| self.error("a length beyond all memory"))
    }

    /// A line of text, without its end.
    pub fn line(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().take(MAX_NAME).position(|byte| *byte == b'\n');
        let Some(end) = end else { return self.error("a name without an end") };
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }

    /// `count` bytes of text.
    pub fn text(&mut self, count: usize) -> Result<&'a str> {
        let bytes = self.take(count)?;
        str::from_utf8(bytes).or_else(|_| self.error("text that is not UTF-8"))
    }
}
