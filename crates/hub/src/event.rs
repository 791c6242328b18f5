//! What a caller is told while files arrive.

use std::ops::ControlFlow;
use std::time::Duration;

use crate::error::{Error, Result};

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// Bytes arrived.
    Bytes {
        /// The file they belong to.
        file: &'a str,
        /// Bytes of all files that are there, those of earlier runs too.
        done: u64,
        /// Bytes of all files.
        all: u64,
    },
    /// A request failed and is made again.
    Retry {
        /// Why it failed.
        reason: String,
        /// How long is waited first.
        wait: Duration,
    },
    /// Something a user should know.
    Note(String),
}

/// Is told about every [`Event`], and stops the work with [`ControlFlow::Break`].
pub type Observer<'a> = dyn FnMut(&Event) -> ControlFlow<()> + 'a;

/// How often an observer is asked whether to go on during a pause.
const POLL: Duration = Duration::from_millis(100);

/// Tells an observer how far the files are.
pub(crate) struct Teller<'a, 'b> {
    observer: &'a mut Observer<'b>,
    file: String,
    before: u64,
    now: u64,
    all: u64,
}

impl<'a, 'b> Teller<'a, 'b> {
    /// Before the files are known.
    pub fn new(observer: &'a mut Observer<'b>) -> Self {
        Self { observer, file: String::new(), before: 0, now: 0, all: 0 }
    }

    /// The files have `all` bytes.
    pub fn expect(&mut self, all: u64) {
        self.all = all;
    }

    /// A file begins, and `before` bytes of the others are there.
    pub fn begin(&mut self, file: &str, before: u64) {
        file.clone_into(&mut self.file);
        (self.before, self.now) = (before, before);
    }

    /// `length` bytes of the file are there.
    pub fn bytes(&mut self, length: u64) -> Result<()> {
        self.now = self.before + length;
        let event = Event::Bytes { file: &self.file, done: self.now, all: self.all };
        stop_or_go((self.observer)(&event))
    }

    /// Something a user should know.
    pub fn note(&mut self, note: String) -> Result<()> {
        stop_or_go((self.observer)(&Event::Note(note)))
    }

    /// Waits before a request is made again.
    pub fn pause(&mut self, reason: String, wait: Duration) -> Result<()> {
        stop_or_go((self.observer)(&Event::Retry { reason, wait }))?;
        let mut left = wait;
        while !left.is_zero() {
            let nap = left.min(POLL);
            std::thread::sleep(nap);
            left -= nap;
            self.bytes(self.now - self.before)?;
        }
        Ok(())
    }
}

fn stop_or_go(flow: ControlFlow<()>) -> Result<()> {
    if flow.is_break() { Err(Error::Interrupted) } else { Ok(()) }
}
