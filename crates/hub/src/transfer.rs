//! A file over the network: what an earlier try left is kept, a cut connection is taken up again, and the result is checked.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use crate::checksum::{Checksum, Tally};
use crate::client::{Client, Failure, host, words};
use crate::error::{Error, Result};
use crate::event::Teller;
use crate::http::{Body, Response};

/// A file to bring.
pub(crate) struct Item<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Its name in messages.
    pub name: &'a str,
    /// Bytes that it should have.
    pub size: u64,
    /// What it should hold.
    pub checksum: &'a Checksum,
}

/// Brings a file to `part`, going on with what is there. A damaged one is fetched once more from its beginning.
///
/// # Errors
/// [`Error::Damaged`] when the second one is damaged too; nothing is left of it then. After any other error what has arrived
/// stays for the next time.
pub(crate) fn download(client: &Client, item: &Item, part: &Path, teller: &mut Teller) -> Result<(), Failure> {
    for last in [false, true] {
        let problem = match fill(client, item, part, teller)?.check(item.checksum, item.size) {
            Ok(()) => return Ok(()),
            Err(problem) => problem,
        };
        std::fs::remove_file(part).map_err(Error::io(part))?;
        if last {
            return Err(Error::Damaged { file: item.name.to_owned(), problem }.into());
        }
        teller.note(format!("{} arrived damaged ({problem}); it is fetched again", item.name))?;
    }
    Ok(())
}

fn fill(client: &Client, item: &Item, part: &Path, teller: &mut Teller) -> Result<Tally, Failure> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(part).map_err(Error::io(part))?;
    let mut arrived = Arrived { file: &mut file, path: part, tally: Tally::new(item.checksum, item.size), item };
    arrived.tally.read((&mut *arrived.file).take(item.size + 1)).map_err(Error::io(part))?;
    if arrived.tally.length > item.size {
        arrived.forget()?;
    }
    let mut failures = 0;
    while arrived.tally.length < item.size {
        let before = arrived.tally.length;
        let failure = match arrived.attempt(client, teller) {
            Ok(()) if arrived.tally.length >= item.size => break,
            Ok(()) => cut(item, "ended too early"),
            Err(error @ Failure::Error(_)) => return Err(error),
            Err(failure) => failure,
        };
        failures = if arrived.tally.length > before { 1 } else { failures + 1 };
        let more = client.tries() > 1 && may_pass(&failure);
        let Some(wait) = client.wait(&failure, failures).filter(|_| more) else { return Err(failure) };
        teller.pause(failure.reason(), wait)?;
    }
    arrived.file.sync_all().map_err(Error::io(part))?;
    Ok(arrived.tally)
}

/// In the middle of a file every cut is worth another try; an answer only if it is not a refusal.
fn may_pass(failure: &Failure) -> bool {
    match failure {
        Failure::Status { status, .. } => matches!(status, 408 | 416 | 429 | 500 | 502 | 503 | 504),
        Failure::Cut { .. } => true,
        Failure::Error(_) => false,
    }
}

fn cut(item: &Item, what: &str) -> Failure {
    Failure::Cut { host: host(item.url), problem: format!("{} {what}", item.name), again: true }
}

/// What has arrived of a file.
struct Arrived<'a> {
    file: &'a mut File,
    path: &'a Path,
    tally: Tally,
    item: &'a Item<'a>,
}

impl Arrived<'_> {
    /// Begins anew.
    fn forget(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(Error::io(self.path))?;
        self.tally = Tally::new(self.item.checksum, self.item.size);
        Ok(())
    }

    /// One request for what is missing.
    fn attempt(&mut self, client: &Client, teller: &mut Teller) -> Result<(), Failure> {
        let response = match client.get(self.item.url, self.tally.length) {
            Err(failure @ Failure::Status { status: 416, .. }) => {
                self.forget()?; // What is here is no beginning of what the server has.
                return Err(failure);
            }
            other => other?,
        };
        if response.status != 206 {
            self.forget()?; // The server knows no ranges and begins anew.
        }
        let total = total(&response, self.tally.length);
        let total =
            total.map_err(|problem| Error::Answer { host: host(self.item.url), problem: problem.to_owned() })?;
        if let Some(total) = total.filter(|total| *total != self.item.size) {
            let problem = format!("{total} bytes instead of {}", self.item.size);
            return Err(Error::Damaged { file: self.item.name.to_owned(), problem }.into());
        }
        self.copy(response.body, teller)
    }

    fn copy(&mut self, body: Body, teller: &mut Teller) -> Result<(), Failure> {
        // One byte more than there should be tells that there are too many; no server fills the disk.
        let mut body = body.take(self.item.size - self.tally.length + 1);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(cut(self.item, &format!("was cut ({})", words(&error))));
                }
            };
            self.file.write_all(&buffer[..n]).map_err(Error::io(self.path))?;
            self.tally.update(&buffer[..n]);
            teller.bytes(self.tally.length.min(self.item.size))?;
        }
    }
}

/// The whole file's bytes as a response tells them; the error says that it begins elsewhere than asked.
fn total(response: &Response, start: u64) -> Result<Option<u64>, &'static str> {
    if response.status != 206 {
        return Ok(response.field("content-length").and_then(|length| length.parse().ok()));
    }
    let range = response.field("content-range").and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
    let (from, total) = range.ok_or("it sends a part and does not say which")?;
    let begins = from.split('-').next().and_then(|from| from.parse().ok()) == Some(start);
    if begins { Ok(total.parse().ok()) } else { Err("it sends another part than asked") }
}
