//! `ringgate health`.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Error, load};
use crate::config::Admin;

/// Bytes of an answer that are read; its first line is all that counts.
const ANSWER_BYTES: u64 = 4096;

/// Exit code 0 when the answer is 200, else 1 with the reason.
#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// The page to ask: `http://HOST:PORT/PATH`, or `unix:/path/of/the.sock`. Default: `/health` of the admin server on
    /// port `CONFIG_PORT` (9090) of this machine.
    #[arg(long, conflicts_with = "config")]
    url: Option<String>,
    /// Ask the admin server of this configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seconds to wait.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,
    #[arg(skip = std::env::var("CONFIG_PORT").ok())]
    port: Option<String>,
}

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    Tcp { authority: String, path: String },
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { authority, path } => write!(f, "http://{authority}{path}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Health {
    pub(super) fn run(self) -> Result<(), Error> {
        let target = self.target()?;
        let timeout = Duration::from_secs(self.timeout);
        let status = ask(&target, timeout).map_err(|error| Error::Runtime(format!("{target}: {error}")))?;
        if status == 200 { Ok(()) } else { Err(Error::Runtime(format!("answered with {status}"))) }
    }

    fn target(&self) -> Result<Target, Error> {
        let Some(file) = &self.config else {
            let default = || format!("http://127.0.0.1:{}/health", self.port.as_deref().unwrap_or("9090"));
            let url = self.url.clone().unwrap_or_else(default);
            return parse(&url).ok_or_else(|| Error::Usage(format!("`{url}` is neither http://... nor unix:...")));
        };
        match load(file)?.config.admin {
            Admin::Tcp(address) => Ok(Target::Tcp { authority: address.to_string(), path: "/health".to_owned() }),
            Admin::Unix(path) => Ok(Target::Unix(path)),
            Admin::Off => Err(Error::Runtime("the admin server is off in this configuration".to_owned())),
        }
    }
}

fn parse(url: &str) -> Option<Target> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Some(Target::Unix(Path::new(path).to_owned()));
    }
    let rest = url.strip_prefix("http://")?;
    let (authority, path) = rest.find('/').map_or((rest, "/health"), |at| rest.split_at(at));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let authority = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    Some(Target::Tcp { authority, path: path.to_owned() })
}

/// The status of the answer.
fn ask(target: &Target, timeout: Duration) -> io::Result<u16> {
    match target {
        Target::Tcp { authority, path } => {
            let address: SocketAddr = authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
            let stream = TcpStream::connect_timeout(&address, timeout)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            exchange(stream, authority, path)
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(timeout))?;
            stream.set_write_timeout(Some(timeout))?;
            exchange(stream, "localhost", "/health")
        }
    }
}

fn exchange(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<u16> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer)?;
    status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP/1.1 answer"))
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok().filter(|_| answer.starts_with(b"HTTP/1."))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn tcp(authority: &str, path: &str) -> Option<Target> {
        Some(Target::Tcp { authority: authority.to_owned(), path: path.to_owned() })
    }

    #[test]
    fn urls_of_both_kinds_are_understood() {
        assert_eq!(parse("http://127.0.0.1:9090/ready"), tcp("127.0.0.1:9090", "/ready"));
        assert_eq!(parse("http://localhost"), tcp("localhost:80", "/health"));
        assert_eq!(parse("http://[::1]:9090"), tcp("[::1]:9090", "/health"));
        assert_eq!(parse("http://[::1]"), tcp("[::1]:80", "/health"));
        assert_eq!(parse("unix:/run/a.sock"), Some(Target::Unix("/run/a.sock".into())));
        assert_eq!(parse("https://localhost"), None);
    }

    #[test]
    fn the_status_of_an_answer_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = tcp(&listener.local_addr().unwrap().to_string(), "/health").unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test of two sides")]
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        assert_eq!(ask(&target, Duration::from_secs(20)).unwrap(), 503);
        assert!(server.join().unwrap().starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
    }

    #[test]
    fn nobody_there_is_an_error_and_so_is_an_answer_that_is_not_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = tcp(&listener.local_addr().unwrap().to_string(), "/").unwrap();
        drop(listener);
        assert!(ask(&target, Duration::from_secs(20)).is_err());
        assert_eq!(status(b"SSH-2.0-OpenSSH"), None);
        assert_eq!(status(b"HTTP/1.1 20"), None);
    }
}
