//! Addresses of the web, as far as they are needed here.

use std::fmt;

use crate::error::{Error, Result};

/// A server: scheme, host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Whether the connection is encrypted.
    pub secure: bool,
    /// Its name, in lower case, or its number.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// An address on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// The server.
    pub origin: Origin,
    /// Path and query.
    pub path: String,
}

impl Address {
    /// Reads `http[s]://HOST[:PORT][/PATH]`. What follows a `#` is left out; user names are refused.
    pub fn parse(url: &str) -> Result<Self> {
        let whole = url.split('#').next().unwrap_or_default();
        let wrong = |host: &str, problem: &str| Error::Answer { host: host.to_owned(), problem: problem.to_owned() };
        let (secure, rest) = match whole.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            _ => return Err(wrong("the server", "not an address of the web")),
        };
        let (server, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let named = server.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let (host, port) = match named {
            Some((host, port)) => (host, port.parse().map_err(|_| wrong(host, "an address with a strange port"))?),
            None => (server, if secure { 443 } else { 80 }),
        };
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let number = inside.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        let name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if !name && !number {
            return Err(wrong("the server", "an address without a plain host name"));
        }
        // Nothing that could end the request's line.
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong(host, "an address with characters that must be escaped"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { origin: Origin { secure, host: host.to_ascii_lowercase(), port }, path })
    }

    /// Where a link on this address leads.
    pub fn join(&self, link: &str) -> Result<Self> {
        if link.contains("://") {
            return Self::parse(link);
        }
        let scheme = if self.origin.secure { "https" } else { "http" };
        if link.starts_with("//") {
            return Self::parse(&format!("{scheme}:{link}"));
        }
        let base = self.path.split('?').next().unwrap_or_default();
        let folder = if link.starts_with('/') { "" } else { &base[..base.rfind('/').unwrap_or(0)] };
        let (link, query) = link.split_at(link.find('?').unwrap_or(link.len()));
        let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
        for part in link.trim_start_matches('/').split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        let Origin { host, port, .. } = &self.origin;
        Self::parse(&format!("{scheme}://{host}:{port}/{}{query}", parts.join("/")))
    }
}

impl Origin {
    /// What is asked for over a safe connection must not arrive over another.
    pub fn may_lead_to(&self, to: &Self) -> Result<()> {
        if !self.secure || to.secure {
            return Ok(());
        }
        let problem = "it leads from https to an address that is not encrypted".to_owned();
        Err(Error::Answer { host: self.host.clone(), problem })
    }

    /// The host as the system resolves it.
    pub fn plain_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.origin.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.origin, self.path)
    }
}

/// As the header `Host` has it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => f.write_str(&self.host),
            (_, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_told_apart() {
        let of = |url| Address::parse(url).unwrap().origin;
        assert_eq!(of("https://Hub.example/a?b"), of("https://hub.example:443"));
        for other in ["http://hub.example/", "https://hub.example:444/", "https://hub.example.evil/"] {
            assert_ne!(of("https://hub.example/"), of(other));
        }
        assert!(of("https://a/").may_lead_to(&of("http://b/")).is_err());
        assert!(of("http://a/").may_lead_to(&of("http://b/")).is_ok());
        assert_eq!(of("http://[::1]:80/").plain_host(), "::1");
        for bad in [
            "ftp://a/",
            "a",
            "",
            "/path",
            "http://",
            "https://me:word@a/",
            "http://a:b/",
            "http://a/b c",
            "http://a/\r\nX: y",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn links_are_joined_to_their_address() {
        let page = Address::parse("https://host:1/root/simple/pkg/?q").unwrap();
        for (link, expected) in [
            ("https://y/z.whl?x=1#sha256=0", "https://y/z.whl?x=1"),
            ("//y/z.whl", "https://y/z.whl"),
            ("/z.whl?a/../b", "https://host:1/z.whl?a/../b"),
            ("z.whl", "https://host:1/root/simple/pkg/z.whl"),
            ("../../p/./z.whl", "https://host:1/root/p/z.whl"),
            ("../../../../../z", "https://host:1/z"),
        ] {
            assert_eq!(page.join(link).unwrap(), Address::parse(expected).unwrap(), "{link}");
        }
    }
}
