//! Requests: redirects followed by hand, so that a token goes to no other server, and failures sorted by what to do.

use std::io::ErrorKind;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::Teller;
use crate::http::{Address, Http, Origin, Response};
use crate::settings::{Network, Token};

/// More redirects than any server needs.
const REDIRECTS: usize = 10;
/// The longest pause that a server can ask for.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Makes requests.
pub(crate) struct Client {
    http: Http,
    /// A token, and the only server that it is sent to.
    token: Option<(Token, Origin)>,
    tries: u32,
    pause: Duration,
}

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server's answer.
    Status { host: String, status: u16, code: String, wait: Option<u64> },
    /// No answer, or a part of one.
    Cut { host: String, problem: String, again: bool },
    /// Nothing that another try would change.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Failure {
    /// Whether the same request may succeed later.
    fn passes(&self) -> bool {
        match self {
            Self::Status { status, .. } => is_busy(*status),
            Self::Cut { again, .. } => *again,
            Self::Error(_) => false,
        }
    }

    /// How long the server asks to wait.
    pub fn asked_wait(&self) -> Option<Duration> {
        match self {
            Self::Status { wait, .. } => wait.map(Duration::from_secs),
            _ => None,
        }
    }

    /// In words.
    pub fn reason(&self) -> String {
        match self {
            Self::Status { host, status, .. } => format!("{host} answered with status {status}"),
            Self::Cut { host, problem, .. } => format!("{host}: {problem}"),
            Self::Error(error) => error.to_string(),
        }
    }

    /// As an error where nobody knows better what a status means.
    pub fn plain(self) -> Error {
        match self {
            Self::Status { host, status, wait, .. } if is_busy(status) => Error::Busy { host, status, wait },
            Self::Status { host, status, .. } => Error::Answer { host, problem: format!("status {status}") },
            Self::Cut { host, problem, .. } => Error::Unreachable { host, problem },
            Self::Error(error) => error,
        }
    }
}

fn is_busy(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

impl Client {
    /// A client that sends `token` to the server of an address and to no other.
    ///
    /// # Errors
    /// [`Error::Setting`] when the certificates cannot be read.
    pub fn new(network: &Network, token: Option<(&Token, &str)>) -> Result<Self> {
        let token = token.map(|(token, url)| Ok((token.clone(), Address::parse(url)?.origin))).transpose()?;
        Ok(Self { http: Http::new(network)?, token, tries: network.tries.max(1), pause: network.pause })
    }

    /// Failures in a row after which to give up.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// The head of an address on its own server: where files are kept elsewhere, the one that leads there.
    pub(crate) fn head(&self, url: &str) -> Result<Response, Failure> {
        self.follow("HEAD", url, None, "*/*", false)
    }

    /// An address's content from byte `start` on, if the server can (the status tells).
    pub(crate) fn get(&self, url: &str, start: u64) -> Result<Response, Failure> {
        let range = (start > 0).then(|| format!("bytes={start}-"));
        self.follow("GET", url, range, "*/*", true)
    }

    /// A short text of the kind that `accept` names.
    pub(crate) fn text(&self, url: &str, accept: &str, limit: u64) -> Result<String, Failure> {
        let response = self.follow("GET", url, None, accept, true)?;
        response.body.text(limit).map_err(|error| failure(&error, url))
    }

    /// Makes a request until it succeeds, or fails for good or too often.
    pub(crate) fn retrying<T>(
        &self,
        teller: &mut Teller,
        mut request: impl FnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut failures = 0;
        loop {
            let failure = match request() {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            failures += 1;
            let Some(wait) = self.wait(&failure, failures).filter(|_| failure.passes()) else { return Err(failure) };
            teller.pause(failure.reason(), wait)?;
        }
    }

    /// How long to wait after a number of failures in a row; none to give up.
    pub(crate) fn wait(&self, failure: &Failure, failures: u32) -> Option<Duration> {
        let own = self.pause * 2u32.pow(failures.saturating_sub(1).min(16));
        let asked = failure.asked_wait();
        (failures < self.tries && asked.is_none_or(|asked| asked <= LONGEST_PAUSE))
            .then(|| own.max(asked.unwrap_or_default()).min(LONGEST_PAUSE))
    }

    fn follow(
        &self,
        method: &str,
        url: &str,
        range: Option<String>,
        accept: &str,
        elsewhere: bool,
    ) -> Result<Response, Failure> {
        let mut address = Address::parse(url)?;
        let mut fields = vec![
            ("User-Agent", concat!("vipaint/", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Accept", accept.to_owned()),
            ("Accept-Encoding", "identity".to_owned()),
        ];
        fields.extend(range.map(|range| ("Range", range)));
        for _ in 0..=REDIRECTS {
            let token = self.token.as_ref().filter(|(_, home)| *home == address.origin);
            let secret = token.map(|(token, _)| ("Authorization", token.header()));
            let all: Vec<_> = fields.iter().cloned().chain(secret).collect();
            let response = self.http.send(method, &address, &all).map_err(|error| cut(&error, &address.origin))?;
            let Some(next) = redirect(&address, &response)? else { return checked(&address.origin, response) };
            if next.origin != address.origin && !elsewhere {
                return Ok(response);
            }
            address.origin.may_lead_to(&next.origin)?;
            address = next;
        }
        Err(Error::Answer { host: address.origin.host, problem: "it redirects without end".into() }.into())
    }
}

/// The server of an address.
pub(crate) fn host(url: &str) -> String {
    Address::parse(url).map_or_else(|_| "the server".to_owned(), |address| address.origin.host)
}

/// Where a response leads, if it does.
fn redirect(from: &Address, response: &Response) -> Result<Option<Address>> {
    if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let nowhere = || Error::Answer { host: from.origin.host.clone(), problem: "a redirect leads nowhere".into() };
    from.join(response.field("location").ok_or_else(nowhere)?).map(Some)
}

fn checked(origin: &Origin, response: Response) -> Result<Response, Failure> {
    if (200..300).contains(&response.status) {
        return Ok(response);
    }
    let text = |name: &str| response.field(name).unwrap_or_default();
    let (code, wait) = (text("x-error-code").to_owned(), text("retry-after").parse().ok());
    Err(Failure::Status { host: origin.host.clone(), status: response.status, code, wait })
}

/// What an error while an answer was read means.
pub(crate) fn failure(error: &std::io::Error, url: &str) -> Failure {
    match Address::parse(url) {
        Ok(address) => cut(error, &address.origin),
        Err(error) => error.into(),
    }
}

/// What an I/O error of a connection means. Addresses are cut to their server: they may hold signatures.
fn cut(error: &std::io::Error, origin: &Origin) -> Failure {
    let host = origin.host.clone();
    let (problem, again) = match error.kind() {
        ErrorKind::HostUnreachable => ("there is no such host, or no network".to_owned(), false),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ("no answer in time".to_owned(), true),
        // TLS failures and answers that are not HTTP: nothing that another try would change.
        ErrorKind::InvalidData | ErrorKind::Other | ErrorKind::ConnectionRefused => (words(error), false),
        _ => (words(error), true),
    };
    Failure::Cut { host, problem, again }
}

/// An I/O error without its number.
pub(crate) fn words(error: &std::io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let network = Network { tries: 4, pause: Duration::from_secs(1), ..Network::default() };
        let client = Client::new(&network, None).unwrap();
        let busy = |wait| Failure::Status { host: String::new(), status: 429, code: String::new(), wait };
        let seconds = |wait, failures| client.wait(&busy(wait), failures).map(|wait| wait.as_secs());
        assert_eq!([1, 2, 3, 4].map(|failures| seconds(None, failures)), [Some(1), Some(2), Some(4), None]);
        assert_eq!([5, 3600].map(|wait| seconds(Some(wait), 1)), [Some(5), None]);
    }
}
