//! A hub on this machine: lists and files on one port, large files behind a redirect to another, and faults on demand.

#![allow(dead_code)] // Each test uses a part of it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The commit of the only revision, `main`.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Files of this size and more are in large-file storage.
pub const LARGE: usize = 1000;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Whether it came to the second port.
    pub storage: bool,
    pub method: String,
    pub path: String,
    pub range: Option<usize>,
    pub token: Option<String>,
}

/// What the server holds, and how it misbehaves.
#[derive(Debug, Default)]
pub struct Site {
    pub repo: String,
    pub files: BTreeMap<String, Vec<u8>>,
    /// The token without which everything is refused, with this code.
    pub gate: Option<(String, u16, &'static str)>,
    /// Answers (status, code, `Retry-After`) given first, one a request.
    pub answers: VecDeque<(u16, &'static str, Option<u64>)>,
    /// Large files: after how many bytes of a request the connection is closed, one a request.
    pub cuts: VecDeque<usize>,
    /// As `cuts`, but the connection stays open and silent.
    pub stalls: VecDeque<usize>,
    /// How many times a large file arrives with a wrong byte.
    pub damaged: usize,
    /// Whether ranges are ignored.
    pub no_ranges: bool,
    /// Added to the announced size of large files.
    pub lie: i64,
    /// Whether files lead to themselves.
    pub circle: bool,
    /// Other pages by their paths.
    pub pages: BTreeMap<String, Vec<u8>>,
    /// Another name of the repository, which leads to it.
    pub renamed: Option<String>,
    pub seen: Vec<Seen>,
}

pub struct Hub {
    pub endpoint: String,
    site: Arc<Mutex<Site>>,
}

impl Hub {
    /// Serves files of a repository until the process ends.
    pub fn start(repo: &str, files: &[(&str, Vec<u8>)]) -> Self {
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let site = Arc::new(Mutex::new(Site { repo: repo.into(), files, ..Site::default() }));
        let [endpoint, storage] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [here, there] = [&endpoint, &storage].map(|l| format!("http://{}", l.local_addr().unwrap()));
        for (listener, is_storage) in [(endpoint, false), (storage, true)] {
            let (site, there) = (site.clone(), there.clone());
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let (site, there) = (site.clone(), there.clone());
                    std::thread::spawn(move || answer(&stream, &site, is_storage, &there));
                }
            });
        }
        Self { endpoint: here, site }
    }

    pub fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().unwrap()
    }

    /// The requests since the last call.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.site().seen)
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn git(bytes: &[u8]) -> String {
    hex(&Sha1::new().chain_update(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

fn read(stream: &TcpStream, storage: bool) -> Option<Seen> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    let first = lines.next()?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut seen = Seen { storage, method: words.next()?, path: words.next()?, ..Seen::default() };
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        match name.to_lowercase().as_str() {
            "range" => seen.range = value.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok(),
            "authorization" => seen.token = Some(value.to_owned()),
            _ => {}
        }
    }
    Some(seen)
}

/// Sends a response, or the first `sent` bytes of its body, and closes the connection.
fn send(mut stream: &TcpStream, seen: &Seen, status: u16, headers: &[(&str, String)], body: &[u8], sent: usize) {
    let mut head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(head, "{name}: {value}\r\n").unwrap();
    }
    let _ = stream.write_all((head + "\r\n").as_bytes());
    if seen.method != "HEAD" {
        let _ = stream.write_all(&body[..sent.min(body.len())]);
    }
    let _ = stream.flush();
}

fn answer(stream: &TcpStream, site: &Mutex<Site>, storage: bool, there: &str) {
    let Some(seen) = read(stream, storage) else { return };
    let mut site = site.lock().unwrap();
    site.seen.push(seen.clone());
    let plain =
        |status, headers: &[(&str, String)], body: &[u8]| send(stream, &seen, status, headers, body, usize::MAX);
    if let Some((status, code, wait)) = site.answers.pop_front() {
        let wait = wait.map(|wait| ("Retry-After", wait.to_string()));
        let headers: Vec<_> = wait.into_iter().chain([("X-Error-Code", code.to_owned())]).collect();
        return plain(status, &headers, b"");
    }
    if storage {
        let stalls = store(stream, &mut site, &seen);
        drop(site);
        if stalls {
            std::thread::sleep(Duration::from_secs(2));
        }
        return;
    }
    if let Some((token, status, code)) = &site.gate
        && seen.token.as_deref() != Some(&format!("Bearer {token}"))
    {
        return plain(*status, &[("X-Error-Code", (*code).to_owned())], b"");
    }
    if let Some(page) = site.pages.get(&seen.path) {
        return plain(200, &[], page);
    }
    let old = site.renamed.clone().unwrap_or_default();
    if !old.is_empty() && seen.path.contains(&old) {
        return plain(307, &[("Location", seen.path.replace(&old, &site.repo))], b"");
    }
    if seen.path == format!("/api/models/{}/revision/main", site.repo) {
        let names: Vec<_> = site.files.keys().map(|name| serde_json::json!({ "rfilename": name })).collect();
        return plain(200, &[], serde_json::json!({ "sha": COMMIT, "siblings": names }).to_string().as_bytes());
    }
    let name = seen.path.strip_prefix(&format!("/{}/resolve/{COMMIT}/", site.repo));
    let Some((name, bytes)) = name.and_then(|name| site.files.get_key_value(&name.replace("%20", " "))) else {
        return plain(404, &[], b"");
    };
    if site.circle {
        return plain(302, &[("Location", seen.path.clone())], b"");
    }
    if bytes.len() < LARGE {
        return plain(200, &[("ETag", format!("\"{}\"", git(bytes)))], bytes);
    }
    let size = bytes.len() as i64 + site.lie;
    let linked = [
        ("Location", format!("{there}/{}?signature=secret", name.replace(' ', "%20"))),
        ("ETag", "\"of-the-redirect\"".to_owned()),
        ("X-Linked-Etag", format!("\"{}\"", sha256(bytes))),
        ("X-Linked-Size", size.to_string()),
    ];
    plain(302, &linked, b"moved");
}

/// Large-file storage, with its faults; whether the connection should stay open.
fn store(stream: &TcpStream, site: &mut Site, seen: &Seen) -> bool {
    let name = seen.path.trim_start_matches('/').split('?').next().unwrap_or_default().replace("%20", " ");
    let mut bytes = site.files[&name].clone();
    if site.damaged > 0 {
        site.damaged -= 1;
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
    }
    let (all, start) = (bytes.len(), seen.range.filter(|_| !site.no_ranges));
    let body = &bytes[start.unwrap_or(0).min(all)..];
    let (cut, stall) = (site.cuts.pop_front(), site.stalls.pop_front());
    let sent = cut.or(stall).unwrap_or(usize::MAX);
    match start {
        Some(start) if start >= all => send(stream, seen, 416, &[("Content-Range", format!("bytes */{all}"))], b"", 0),
        Some(start) => {
            let range = format!("bytes {start}-{}/{all}", all - 1);
            send(stream, seen, 206, &[("Content-Range", range)], body, sent);
        }
        None => send(stream, seen, 200, &[], body, sent),
    }
    stall.is_some()
}
