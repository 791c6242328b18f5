//! Proxies from the environment, as other programs read it.

use super::address::{Address, Origin};
use crate::error::{Error, Result};

/// Which proxies there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    secure: Option<Origin>,
    plain: Option<Origin>,
    /// Hosts, and ends of hosts, that are reached directly.
    direct: Vec<String>,
}

impl Proxies {
    /// From `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY` and `NO_PROXY` (upper case of the second is left out: servers set it from
    /// a client's header).
    pub fn from_env() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(get: impl Fn(&'static str) -> Option<String>) -> Result<Self> {
        let proxy = |names: &[&'static str]| {
            let found = names.iter().find_map(|&name| Some((name, get(name)?)));
            found.map(|(name, value)| origin(name, &value)).transpose()
        };
        let secure = proxy(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
        let plain = proxy(&["http_proxy", "ALL_PROXY", "all_proxy"])?;
        let direct = get("NO_PROXY").or_else(|| get("no_proxy")).unwrap_or_default();
        let direct = direct.split(',').map(|host| host.trim().trim_start_matches(['*', '.']).to_ascii_lowercase());
        let all = get("NO_PROXY").or_else(|| get("no_proxy")).is_some_and(|list| list.trim() == "*");
        if all {
            return Ok(Self::default());
        }
        Ok(Self { secure, plain, direct: direct.filter(|host| !host.is_empty()).collect() })
    }

    /// The proxy for a server.
    pub fn of(&self, server: &Origin) -> Option<&Origin> {
        let host = server.plain_host();
        let within =
            |end: &String| host.strip_suffix(end.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if self.direct.iter().any(within) {
            return None;
        }
        if server.secure { self.secure.as_ref() } else { self.plain.as_ref() }
    }
}

fn origin(name: &'static str, value: &str) -> Result<Origin> {
    let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    match Address::parse(&url) {
        Ok(Address { origin, .. }) if !origin.secure => Ok(origin),
        _ => Err(Error::Setting { name, problem: "is not of the form http://HOST:PORT".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_read_as_others_do() {
        let read = |variables: &[(&str, &str)]| {
            Proxies::read(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        let of =
            |proxies: &Proxies, url: &str| proxies.of(&Address::parse(url).unwrap().origin).map(ToString::to_string);
        let some = read(&[
            ("HTTPS_PROXY", "http://p:3128"),
            ("HTTP_PROXY", "evil:1"),
            ("NO_PROXY", "localhost, .inner.example"),
        ]);
        let some = some.unwrap();
        assert_eq!(of(&some, "https://hub.example/").as_deref(), Some("p:3128"));
        for direct in
            ["http://hub.example/", "https://localhost/", "https://a.inner.example/", "https://inner.example/"]
        {
            assert_eq!(of(&some, direct), None, "{direct}");
        }
        assert!(of(&some, "https://notinner.example/").is_some());
        let all = read(&[("all_proxy", "q:80"), ("no_proxy", "*")]).unwrap();
        assert_eq!(of(&all, "https://hub.example/"), None);
        for bad in ["socks5://p:1", "http://me:word@p:1", "https://p"] {
            let problem = read(&[("HTTPS_PROXY", bad)]).unwrap_err().to_string();
            assert!(problem.contains("HTTPS_PROXY") && !problem.contains("word"), "{problem}");
        }
    }
}
