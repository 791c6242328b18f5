//! Where the hub is, where files are kept, and who asks: the environment variables that other tools of the hub read too.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::error::{Error, Result};

/// The public hub.
const ENDPOINT: &str = "https://huggingface.co";

/// A secret that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a token.
    ///
    /// # Errors
    /// [`Error::Setting`] names `source` when the text cannot be a token.
    pub fn new(text: &str, source: &'static str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let problem = "holds no token (printable characters without spaces)".to_owned();
            return Err(Error::Setting { name: source, problem });
        }
        Ok(Self(text.to_owned()))
    }

    /// The value of the header `Authorization`.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

/// How requests are made.
#[derive(Debug, Clone)]
pub struct Network {
    /// Whether a proxy is taken from the environment.
    pub proxy: bool,
    /// A file of certificates (PEM) to trust instead of the built-in ones.
    pub certificates: Option<PathBuf>,
    /// How long nothing may arrive before a connection counts as cut.
    pub idle: Duration,
    /// Failed requests in a row, without a byte in between, after which it gives up.
    pub tries: u32,
    /// The first pause between two tries; each is twice as long as the last.
    pub pause: Duration,
}

impl Default for Network {
    fn default() -> Self {
        let (idle, pause) = (Duration::from_secs(30), Duration::from_secs(1));
        Self { proxy: true, certificates: None, idle, tries: 5, pause }
    }
}

/// Everything that is set from outside.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The hub's address, without a slash at its end (`HF_ENDPOINT`).
    pub endpoint: String,
    /// The folder of the cache (`HF_HUB_CACHE`, or `hub` in `HF_HOME`).
    pub cache: PathBuf,
    /// Who asks (`HF_TOKEN`, or the file that `hf auth login` writes).
    pub token: Option<Token>,
    /// Whether the network must not be used (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// How requests are made.
    pub network: Network,
}

impl Settings {
    /// From the process's environment.
    ///
    /// # Errors
    /// [`Error::Setting`] names the variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        Self::read(|name| std::env::var_os(name).filter(|value| !value.is_empty()), std::env::home_dir())
    }

    /// From variables that `get` finds and the user's home.
    pub(crate) fn read(get: impl Fn(&'static str) -> Option<OsString>, home: Option<PathBuf>) -> Result<Self> {
        let path = |name| get(name).map(PathBuf::from);
        let text = |name: &'static str| {
            let value = get(name).map(OsString::into_string).transpose();
            value.map_err(|_| Error::Setting { name, problem: "is not text".into() })
        };
        let root = path("HF_HOME")
            .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
            .or_else(|| home.map(|home| home.join(".cache").join("huggingface")));
        let root = root.ok_or_else(|| Error::Setting {
            name: "HF_HOME",
            problem: "is not set, and there is no home folder: set it to a folder for the files".into(),
        })?;
        let token = match text("HF_TOKEN")? {
            Some(token) => Some(Token::new(&token, "HF_TOKEN")?),
            None => token_file(&path("HF_TOKEN_PATH").unwrap_or_else(|| root.join("token")))?,
        };
        let mut network = Network { certificates: path("SSL_CERT_FILE"), ..Network::default() };
        if let Some(seconds) = text("HF_HUB_DOWNLOAD_TIMEOUT")? {
            let time = seconds.parse().ok().filter(|seconds| (1..=86400).contains(seconds)).map(Duration::from_secs);
            let problem = || "is not a number of seconds from 1 on".to_owned();
            network.idle =
                time.ok_or_else(|| Error::Setting { name: "HF_HUB_DOWNLOAD_TIMEOUT", problem: problem() })?;
        }
        Ok(Self {
            endpoint: endpoint(text("HF_ENDPOINT")?.as_deref().unwrap_or(ENDPOINT))?,
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| root.join("hub")),
            token,
            offline: text("HF_HUB_OFFLINE")?.is_some_and(|value| is_true(&value)),
            network,
        })
    }
}

fn endpoint(text: &str) -> Result<String> {
    let text = text.trim().trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        // A user name in the address would be sent, and printed in messages.
        Some(host) if !host.is_empty() && !host.contains(['@', '?', '#', ' ']) => Ok(text.to_owned()),
        _ => Err(Error::Setting { name: "HF_ENDPOINT", problem: "is not an address that begins with https://".into() }),
    }
}

/// As Python's client reads it.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

fn token_file(path: &std::path::Path) -> Result<Option<Token>> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Token::new(&text, "HF_TOKEN_PATH").map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Settings::read(get, Some("/home/me".into()))
    }

    #[test]
    fn the_variables_of_other_tools_are_honoured() {
        let plain = read(&[]).unwrap();
        assert_eq!((plain.endpoint.as_str(), plain.offline, &plain.token), (ENDPOINT, false, &None));
        assert_eq!(plain.cache, PathBuf::from("/home/me/.cache/huggingface/hub"));
        let set = read(&[
            ("HF_ENDPOINT", "https://hub.example/"),
            ("HF_HOME", "/data"),
            ("HF_TOKEN", " hf_secret\n"),
            ("HF_HUB_OFFLINE", "ON"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "7"),
            ("SSL_CERT_FILE", "/ca.pem"),
        ])
        .unwrap();
        assert_eq!((set.endpoint.as_str(), set.offline), ("https://hub.example", true));
        assert_eq!((set.cache, set.network.idle), (PathBuf::from("/data/hub"), Duration::from_secs(7)));
        assert_eq!(set.network.certificates, Some("/ca.pem".into()));
        assert_eq!(set.token.unwrap().header(), "Bearer hf_secret");
        let moved = read(&[("HF_HOME", "/data"), ("HF_HUB_CACHE", "/fast"), ("HF_HUB_OFFLINE", "0")]).unwrap();
        assert_eq!((moved.cache, moved.offline), (PathBuf::from("/fast"), false));
    }

    #[test]
    fn a_token_comes_from_its_file_and_is_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_filed\n").unwrap();
        let settings = read(&[("HF_HOME", folder.path().to_str().unwrap())]).unwrap();
        assert_eq!(settings.token.as_ref().unwrap().header(), "Bearer hf_filed");
        assert!(!format!("{settings:?}").contains("filed"));
    }

    #[test]
    fn a_wrong_value_names_its_variable_and_keeps_the_secret() {
        for (name, value) in [
            ("HF_TOKEN", "hf_x y"),
            ("HF_ENDPOINT", "huggingface.co"),
            ("HF_ENDPOINT", "https://me:word@hub.example"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "0"),
        ] {
            let problem = read(&[(name, value)]).unwrap_err().to_string();
            assert!(problem.starts_with(name) && !problem.contains(value), "{problem}");
        }
        assert!(Settings::read(|_| None, None).unwrap_err().to_string().contains("HF_HOME"));
    }
}
