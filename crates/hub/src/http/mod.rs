//! HTTP/1.1 (RFC 9112) as far as a download needs it: one request a connection, over TLS (rustls) or not.
//!
//! What HTTP crates have besides (pools, cookies, compression, sending) is not needed here, and each of them changes features of
//! crates that Burn rests on, so that all of it would be built in another way.

mod address;
mod body;
mod proxy;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::error::{Error, Result};
use crate::settings::Network;

pub(crate) use address::{Address, Origin};
pub(crate) use body::Body;
use body::Kind;
use proxy::Proxies;

/// Bytes of a response's head, more than servers send.
const LONGEST_HEAD: usize = 1 << 16;
/// Fields of a head.
const MOST_FIELDS: usize = 128;

/// Makes connections.
pub(crate) struct Http {
    tls: Arc<ClientConfig>,
    proxies: Proxies,
    idle: Duration,
}

/// What a server said.
pub(crate) struct Response {
    /// Its status.
    pub status: u16,
    fields: Vec<(String, String)>,
    /// Its content.
    pub body: Body,
}

impl Response {
    /// A field of its head; `name` in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }
}

impl Http {
    /// Reads certificates and proxies.
    pub fn new(network: &Network) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &network.certificates {
            roots.add_parsable_certificates(certificates(path)?);
        } else {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let setting = |problem: String| Error::Setting { name: "SSL_CERT_FILE", problem };
        if roots.is_empty() {
            return Err(setting("names a file without certificates that can be used".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| setting(error.to_string()))?;
        let tls = Arc::new(builder.with_root_certificates(roots).with_no_client_auth());
        let proxies = if network.proxy { Proxies::from_env()? } else { Proxies::default() };
        Ok(Self { tls, proxies, idle: network.idle })
    }

    /// Makes a request and reads the head of its answer; a redirect is an answer like any other.
    pub fn send(&self, method: &str, address: &Address, fields: &[(&str, String)]) -> io::Result<Response> {
        let Address { origin, path } = address;
        let proxy = self.proxies.of(origin);
        let mut stream: Box<dyn Stream> = Box::new(self.connect(proxy.unwrap_or(origin))?);
        if origin.secure {
            if proxy.is_some() {
                let server = format!("{}:{}", origin.host, origin.port);
                write!(stream, "CONNECT {server} HTTP/1.1\r\nHost: {server}\r\n\r\n")?;
                // Byte by byte: what follows belongs to the encrypted connection.
                let (status, _) = head(&mut BufReader::with_capacity(1, &mut stream))?;
                if status != 200 {
                    return Err(io::Error::other(format!("the proxy answered with status {status}")));
                }
            }
            let name = ServerName::try_from(origin.plain_host().to_owned()).map_err(io::Error::other)?;
            let connection = ClientConnection::new(self.tls.clone(), name).map_err(io::Error::other)?;
            stream = Box::new(StreamOwned::new(connection, stream));
        }
        let target = if proxy.is_some() && !origin.secure { format!("http://{origin}{path}") } else { path.clone() };
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: {origin}\r\nConnection: close\r\n");
        for (name, value) in fields {
            request.extend([name, ": ", value, "\r\n"]);
        }
        stream.write_all((request + "\r\n").as_bytes())?;
        stream.flush()?;
        answer(method, Box::new(BufReader::new(stream)))
    }

    /// Tries the addresses of a server in turn.
    fn connect(&self, server: &Origin) -> io::Result<TcpStream> {
        let mut failed = io::Error::from(NO_HOST);
        for address in (server.plain_host(), server.port).to_socket_addrs().map_err(|_| NO_HOST)? {
            match TcpStream::connect_timeout(&address, self.idle) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(self.idle))?;
                    stream.set_write_timeout(Some(self.idle))?;
                    return Ok(stream);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// What resolving a name that is not known, or resolving without a network, gives.
const NO_HOST: io::ErrorKind = io::ErrorKind::HostUnreachable;

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// Reads a response, leaving out what servers say in between (1xx).
fn answer(method: &str, mut source: Box<dyn BufRead>) -> io::Result<Response> {
    let (status, fields) = loop {
        let (status, fields) = head(&mut source)?;
        if status >= 200 {
            break (status, fields);
        }
    };
    let kind = if method == "HEAD" || matches!(status, 204 | 304) { Kind::Sized(0) } else { kind(&fields)? };
    Ok(Response { status, fields, body: Body::new(source, kind) })
}

/// The status, and the fields with names in lower case.
fn head(source: &mut dyn BufRead) -> io::Result<(u16, Vec<(String, String)>)> {
    let strange = |problem: String| io::Error::new(io::ErrorKind::InvalidData, problem);
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"\n\n") {
        let left = (LONGEST_HEAD + 1 - bytes.len()) as u64;
        if Read::take(&mut *source, left).read_until(b'\n', &mut bytes)? == 0 || bytes.len() > LONGEST_HEAD {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed before an answer"));
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    let whole = parsed.parse(&bytes).map_err(|error| strange(format!("it does not speak HTTP: {error}")))?;
    let status = parsed.code.filter(|_| whole.is_complete()).ok_or_else(|| strange("it does not speak HTTP".into()))?;
    let field = |field: &httparse::Header| {
        (field.name.to_ascii_lowercase(), String::from_utf8_lossy(field.value).trim().to_owned())
    };
    Ok((status, parsed.headers.iter().map(field).collect()))
}

/// How the content's end is known.
fn kind(fields: &[(String, String)]) -> io::Result<Kind> {
    let strange = |problem| io::Error::new(io::ErrorKind::InvalidData, problem);
    let of =
        |name: &'static str| fields.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str());
    if let Some(coding) = of("transfer-encoding").next() {
        let chunked = coding.eq_ignore_ascii_case("chunked");
        return if chunked { Ok(Kind::Chunked(0)) } else { Err(strange("content in an unknown coding")) };
    }
    let Some(first) = of("content-length").next() else { return Ok(Kind::Close) };
    if of("content-length").any(|other| other != first) {
        return Err(strange("content of two lengths"));
    }
    first.parse().map(Kind::Sized).map_err(|_| strange("content of a strange length"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |error: rustls::pki_types::pem::Error| Error::Setting {
        name: "SSL_CERT_FILE",
        problem: format!("names a file that cannot be read ({error})"),
    };
    let found = CertificateDer::pem_file_iter(path).map_err(wrong)?;
    Ok(found.filter_map(std::result::Result::ok).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &'static [u8], method: &str) -> io::Result<(u16, String)> {
        let response = answer(method, Box::new(bytes))?;
        Ok((response.status, response.body.text(100)?))
    }

    #[test]
    fn answers_are_read() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd";
        assert_eq!(read(plain, "GET").unwrap(), (200, "abc".into()));
        assert_eq!(read(plain, "HEAD").unwrap(), (200, String::new()));
        let early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 \r\ntransfer-encoding: Chunked\r\nContent-Length: 9\r\n\r\n1\r\nx\r\n0\r\n\r\n";
        assert_eq!(read(early, "GET").unwrap(), (404, "x".into()));
        let head = b"HTTP/1.1 302 Found\r\nX-Linked-ETag:  \"e\" \r\nLocation: /x\r\n\r\n";
        let response = answer("GET", Box::new(&head[..])).unwrap();
        assert_eq!((response.field("x-linked-etag"), response.field("location")), (Some("\"e\""), Some("/x")));
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        let cases: [&'static [u8]; 7] = [
            b"",
            b"HTTP/1.1 200 OK\r\n",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabcd",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd",
        ];
        for bytes in cases {
            assert!(read(bytes, "GET").is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        let endless = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 1 << 17]].concat();
        assert!(answer("GET", Box::new(io::Cursor::new(endless))).is_err());
    }
}
