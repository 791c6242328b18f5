//! What follows the head of a response (RFC 9112, section 6).

use std::io::{self, BufRead, Read};

/// Longer than any line between chunks.
const LONGEST_LINE: u64 = 4096;

/// A response's content, read as it arrives.
pub(crate) struct Body {
    source: Box<dyn BufRead>,
    kind: Kind,
}

/// How its end is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes that are left.
    Sized(u64),
    /// Bytes that are left of a chunk; more chunks follow.
    Chunked(u64),
    /// The connection's end.
    Close,
}

impl Body {
    pub(super) fn new(source: Box<dyn BufRead>, kind: Kind) -> Self {
        Self { source, kind }
    }

    /// All of a text of at most `limit` bytes.
    pub fn text(self, limit: u64) -> io::Result<String> {
        let mut bytes = Vec::new();
        self.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is too long"));
        }
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not text"))
    }

    /// The size in the line before a chunk; what follows the last one is read, too.
    fn next_chunk(&mut self) -> io::Result<u64> {
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16).map_err(|_| strange("a chunk without a size"))?;
        if size == 0 {
            while !self.line()?.is_empty() {}
        }
        Ok(size)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        (&mut self.source).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(cut());
        }
        Ok(String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned())
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match self.kind {
            Kind::Close => return self.source.read(buffer),
            Kind::Chunked(0) => {
                let size = self.next_chunk()?;
                self.kind = if size == 0 { Kind::Sized(0) } else { Kind::Chunked(size) };
                size
            }
            Kind::Sized(left) | Kind::Chunked(left) => left,
        };
        let most = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        if most == 0 {
            return Ok(0);
        }
        let n = self.source.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(cut());
        }
        match &mut self.kind {
            Kind::Sized(left) => *left -= n as u64,
            Kind::Chunked(left) => {
                *left -= n as u64;
                if *left == 0 && !self.line()?.is_empty() {
                    return Err(strange("a chunk that does not end"));
                }
            }
            Kind::Close => {}
        }
        Ok(n)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed before the end")
}

fn strange(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], kind: Kind) -> io::Result<String> {
        Body::new(Box::new(io::BufReader::with_capacity(3, bytes)), kind).text(100)
    }

    #[test]
    fn each_kind_ends_where_it_says() {
        assert_eq!(read(b"abcdef", Kind::Sized(4)).unwrap(), "abcd");
        assert_eq!(read(b"abcdef", Kind::Close).unwrap(), "abcdef");
        assert_eq!(
            read(b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nrest", Kind::Chunked(0)).unwrap(),
            "abc0123456789"
        );
    }

    #[test]
    fn what_ends_early_or_makes_no_sense_is_an_error() {
        for (bytes, kind) in [
            (&b"abc"[..], Kind::Sized(4)),
            (b"", Kind::Chunked(0)),
            (b"3\r\nab", Kind::Chunked(0)),
            (b"3\r\nabcd\r\n0\r\n\r\n", Kind::Chunked(0)),
            (b"3\r\nabc\r\n0\r\n", Kind::Chunked(0)),
            (b"-1\r\nabc\r\n", Kind::Chunked(0)),
            (b"fffffffffffffffff\r\nabc", Kind::Chunked(0)),
            (b"\xff\xfe", Kind::Close),
        ] {
            assert!(read(bytes, kind).is_err(), "{bytes:?}");
        }
        assert!(Body::new(Box::new(io::BufReader::new(io::repeat(b'a').take(101))), Kind::Close).text(100).is_err());
    }
}
