//! The admin server of a running gateway, as commands ask it.

mod tls;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, client};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use self::tls::Secured;
pub(super) use self::tls::TlsFiles;
use super::Error;
use crate::config::{self, Admin, AdminListen, AdminTls, Disk};
use crate::control;

/// Wait for a page.
const LOOK: Duration = Duration::from_secs(30);
/// Wait for what comes of an order.
const OUTCOME: Duration = Duration::from_secs(60);
// Whoever gives up before the gateway does says that nothing came of what may still come about.
const _: () = assert!(OUTCOME.as_secs() > control::RELOAD_LASTS.as_secs());
const _: () = assert!(OUTCOME.as_secs() > control::UPGRADE_LASTS.as_secs());
/// Bytes of an answer.
const ANSWER_BYTES: usize = 64 << 20;

/// Where the admin server is.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The admin server: an address as `admin.listen` has it, `HOST:PORT`, `http://HOST:PORT`, `https://HOST:PORT` or
    /// `unix:/path/of/the.sock`. What has no scheme is spoken to by TLS if there are files for that. Default: port
    /// `CONFIG_PORT` (9090) of this machine.
    #[arg(long, value_name = "URL", conflicts_with = "config")]
    admin: Option<String>,
    /// The admin server of this configuration file.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A file with a token of the admin server. Default: the environment variable `RINGGATE_ADMIN_TOKEN`, or with `--config` the
    /// token of that file.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsFiles,
    /// Seconds to wait. Default: 30, and 60 for what comes of a reload, an upgrade or a trial.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    #[arg(skip = std::env::var("CONFIG_PORT").ok())]
    port: Option<String>,
    #[arg(skip = std::env::var("RINGGATE_ADMIN_TOKEN").ok())]
    token: Option<String>,
}

impl Server {
    /// The answer to a request for a page, with a body when there is something to say.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer, Error> {
        self.site()?.ask(method, path, body)
    }

    /// The answer to an order, which comes when its outcome is known.
    pub(super) fn order(&self, path: &str) -> Result<Answer, Error> {
        self.site_within(OUTCOME)?.ask(Method::POST, path, None)
    }

    /// The server, found once for several questions.
    pub(super) fn site(&self) -> Result<Site, Error> {
        self.site_within(LOOK)
    }

    fn site_within(&self, patience: Duration) -> Result<Site, Error> {
        let Found { target, token, tls } = self.find()?;
        let secured = target.secured_by(&self.tls, tls.as_ref())?;
        Ok(Site { root: target, token, secured, patience: self.timeout.map_or(patience, Duration::from_secs) })
    }

    /// Where it is, and the token to show.
    fn find(&self) -> Result<Found, Error> {
        let given = match &self.token_file {
            None => self.token.clone(),
            Some(file) => {
                let read = std::fs::read_to_string(file);
                let text = read.map_err(|error| Error::Runtime(format!("{}: {error}", file.display())))?;
                Some(text.trim().to_owned())
            }
        };
        if let Some(file) = &self.config {
            let found = Target::of_config(file, "/")?;
            return Ok(Found { token: given.or(found.token), ..found });
        }
        let port = default_port(self.port.as_deref());
        let url = self.admin.clone().unwrap_or_else(|| format!("127.0.0.1:{port}"));
        let target = Target::parse(url.trim_end_matches('/'), "/", port, &self.tls).ok_or_else(|| wrong_url(&url))?;
        if given.is_some() && !url.contains("://") && target.is_exposed() {
            let text = format!("a token would be sent to `{url}` without TLS: give `--cacert FILE`, or say `http://`");
            return Err(Error::Usage(text));
        }
        Ok(Found { target, token: given, tls: None })
    }
}

/// An admin server, as a configuration file has it.
pub(super) struct Found {
    /// The page of it that is asked for.
    pub(super) target: Target,
    /// The token to show.
    pub(super) token: Option<String>,
    /// How its connections are secured.
    pub(super) tls: Option<AdminTls>,
}

/// A server, and who asks it.
#[derive(Debug, Clone)]
pub(super) struct Site {
    root: Target,
    token: Option<String>,
    secured: Option<Secured>,
    patience: Duration,
}

impl Site {
    /// The answer to a request for a page, with a body when there is something to say.
    pub(super) fn ask(&self, method: Method, path: &str, body: Option<String>) -> Result<Answer, Error> {
        let target = self.root.at(path);
        let (token, secured) = (self.token.clone(), self.secured.clone());
        let question = Question { method, body: body.unwrap_or_default(), token, secured };
        let asked = ask(&target, question, self.patience);
        asked.map_err(|error| {
            let nobody = matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound);
            Error::Runtime(format!("{target}: {error}{}", if nobody { "; is the gateway running?" } else { "" }))
        })
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// A page of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// Over TCP.
    Tcp {
        /// Host and port.
        authority: String,
        /// The page.
        path: String,
    },
    /// Over TCP, secured.
    Tls {
        /// Host and port.
        authority: String,
        /// The page.
        path: String,
    },
    /// Over a unix socket.
    Unix {
        /// The socket.
        socket: PathBuf,
        /// The page.
        path: String,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { authority, path } => write!(f, "http://{authority}{path}"),
            Self::Tls { authority, path } => write!(f, "https://{authority}{path}"),
            Self::Unix { socket, path: _ } => write!(f, "unix:{}", socket.display()),
        }
    }
}

impl Target {
    /// Another page of the same server.
    fn at(&self, path: &str) -> Self {
        let path = path.to_owned();
        match self {
            Self::Tcp { authority, .. } => Self::Tcp { authority: authority.clone(), path },
            Self::Tls { authority, .. } => Self::Tls { authority: authority.clone(), path },
            Self::Unix { socket, .. } => Self::Unix { socket: socket.clone(), path },
        }
    }

    /// The page `path` of a server's URL that names none itself. As `admin.listen` has it, an address is enough, with that
    /// `port` unless it has one, and by TLS where there are `files` for it.
    pub(super) fn parse(url: &str, path: &str, port: &str, files: &TlsFiles) -> Option<Self> {
        if let Some(socket) = url.strip_prefix("unix:") {
            return Some(Self::Unix { socket: Path::new(socket).to_owned(), path: path.to_owned() });
        }
        let (rest, is_secured) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (rest, true),
            (None, Some(rest)) => (rest, false),
            (None, None) => return Some(Self::tcp(authority(url, port)?, path, files.are_given())),
        };
        let (authority, path) = rest.find('/').map_or((rest, path), |at| rest.split_at(at));
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority =
            if has_port { authority.to_owned() } else { format!("{authority}:{}", if is_secured { 443 } else { 80 }) };
        Some(Self::tcp(authority, path, is_secured))
    }

    fn tcp(authority: String, path: &str, is_secured: bool) -> Self {
        let path = path.to_owned();
        if is_secured { Self::Tls { authority, path } } else { Self::Tcp { authority, path } }
    }

    /// May others read what is sent to it?
    fn is_exposed(&self) -> bool {
        let Self::Tcp { authority, .. } = self else { return false };
        let is_loopback = authority.parse().is_ok_and(|address: SocketAddr| address.ip().is_loopback());
        !is_loopback && !authority.starts_with("localhost:")
    }

    /// The page `path` of the admin server of a configuration file.
    pub(super) fn of_config(file: &Path, path: &str) -> Result<Found, Error> {
        let Admin { listen, tls, token, read_token } =
            config::load_admin(file, &Disk).map_err(|report| Error::Config(report.to_string()))?;
        let token = token.or(read_token).map(|token| token.secret().to_owned());
        let target = match listen {
            AdminListen::Tcp(address) => Self::tcp(here(address).to_string(), path, tls.is_some()),
            AdminListen::Unix(socket) => Self::Unix { socket, path: path.to_owned() },
            AdminListen::Off => {
                return Err(Error::Runtime("the admin server is off in this configuration".to_owned()));
            }
        };
        Ok(Found { target, token, tls })
    }

    /// What secures connections to it, where they are.
    pub(super) fn secured_by(&self, files: &TlsFiles, known: Option<&AdminTls>) -> Result<Option<Secured>, Error> {
        match self {
            Self::Tls { authority, .. } => files.secure(authority, known).map(Some),
            Self::Tcp { .. } if files.are_given() => {
                let text = format!("`--cacert`, `--cert` and `--key` are for TLS, without which `{self}` is asked");
                Err(Error::Usage(text))
            }
            Self::Tcp { .. } | Self::Unix { .. } => Ok(None),
        }
    }
}

/// Where this machine finds a server that listens on all of its addresses.
fn here(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

/// The port of the admin server where none is given, unless it is `given` by `CONFIG_PORT`.
pub(super) fn default_port(given: Option<&str>) -> &str {
    given.filter(|port| !port.is_empty()).unwrap_or("9090")
}

/// Host and port of an address as `admin.listen` has it, or of a name with a port; `port` is for those that have none.
fn authority(text: &str, port: &str) -> Option<String> {
    let has_port = |given: Option<u16>| given.or_else(|| port.parse().ok());
    match config::ip_and_port(text).filter(|_| !text.is_empty()) {
        // As a name, for which its certificate may be.
        Some((_, given)) if text.starts_with("localhost") => Some(format!("localhost:{}", has_port(given)?)),
        Some((ip, given)) => Some(here(SocketAddr::new(ip, has_port(given)?)).to_string()),
        None => is_named(text).then(|| text.to_owned()),
    }
}

fn is_named(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    text.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && !host.contains('/') && is_port(port))
}

pub(super) fn wrong_url(url: &str) -> Error {
    Error::Usage(format!("`{url}` is none of HOST:PORT, http://..., https://... and unix:..."))
}

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Question {
    pub(super) method: Method,
    pub(super) body: String,
    pub(super) token: Option<String>,
    /// What secures the connection to a [`Target::Tls`].
    pub(super) secured: Option<Secured>,
}

/// Asks for a page and waits for its answer no longer than `patience`.
pub(super) fn ask(target: &Target, question: Question, patience: Duration) -> io::Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let asking = async {
            match target {
                Target::Tcp { authority, path } => {
                    let stream = TcpStream::connect(authority).await?;
                    exchange(stream, authority, path, question).await
                }
                Target::Tls { authority, path } => {
                    let Secured { config, name } = question.secured.clone().ok_or_else(|| other("no TLS"))?;
                    let stream = TcpStream::connect(authority).await?;
                    let stream = TlsConnector::from(config).connect(name, stream).await?;
                    exchange(stream, authority, path, question).await
                }
                Target::Unix { socket, path } => {
                    let stream = UnixStream::connect(socket).await?;
                    exchange(stream, "localhost", path, question).await
                }
            }
        };
        match tokio::time::timeout(patience, asking).await {
            Ok(answer) => answer,
            Err(_elapsed) => {
                let why = format!("no answer within {} s", patience.as_secs_f64());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    })
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
    Question { method, body, token, secured: _ }: Question,
) -> io::Result<Answer> {
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(other)?;
    let task = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", host).header("connection", "close");
    let request = match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    };
    let request = request.body(Full::new(Bytes::from(body))).map_err(other)?;
    let answer = sender.send_request(request).await.map_err(other)?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(io::Error::other)?;
    task.abort();
    Ok(Answer { status, body: String::from_utf8_lossy(&body.to_bytes()).into_owned() })
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use clap::Parser as _;

    use super::*;

    fn tcp(authority: &str, path: &str) -> Option<Target> {
        Some(Target::Tcp { authority: authority.to_owned(), path: path.to_owned() })
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        server: Server,
    }

    /// Where a command with these arguments and this token asks.
    fn found(arguments: &[&str], token: Option<&str>) -> Result<Target, Error> {
        let Line { server } = Line::parse_from([&["ringgate"], arguments].concat());
        let server = Server { port: None, token: token.map(str::to_owned), ..server };
        server.find().map(|found| found.target)
    }

    #[test]
    fn urls_of_both_kinds_are_understood() {
        let parse = |url| Target::parse(url, "/health", "9191", &TlsFiles::default());
        assert_eq!(parse("http://127.0.0.1:9090/ready"), tcp("127.0.0.1:9090", "/ready"));
        assert_eq!(parse("http://localhost"), tcp("localhost:80", "/health"));
        assert_eq!(parse("http://[::1]:9090"), tcp("[::1]:9090", "/health"));
        assert_eq!(parse("http://[::1]"), tcp("[::1]:80", "/health"));
        let unix = Target::Unix { socket: "/run/a.sock".into(), path: "/health".to_owned() };
        assert_eq!(parse("unix:/run/a.sock"), Some(unix));
        let tls = |authority: &str| Some(Target::Tls { authority: authority.to_owned(), path: "/health".to_owned() });
        assert_eq!(parse("https://localhost"), tls("localhost:443"));
        assert_eq!(parse("https://localhost:9090"), tls("localhost:9090"));
        for wrong in ["", "ftp://localhost", "ftp://localhost:80", "gateway", "9090", ":", "localhost:http"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_address_is_understood_as_the_configuration_has_it() {
        for (given, authority) in [
            ("127.0.0.1:9090", "127.0.0.1:9090"),
            ("[::1]:9090", "[::1]:9090"),
            (":9090", "127.0.0.1:9090"),
            ("0.0.0.0:9090", "127.0.0.1:9090"),
            ("[::]:9090", "[::1]:9090"),
            ("127.0.0.1", "127.0.0.1:9191"),
            ("::1", "[::1]:9191"),
            ("localhost", "localhost:9191"),
            ("localhost:9090", "localhost:9090"),
            ("gateway.internal:9090", "gateway.internal:9090"),
        ] {
            let parsed = Target::parse(given, "/", default_port(Some("9191")), &TlsFiles::default());
            assert_eq!(parsed, tcp(authority, "/"), "{given}");
        }
        assert_eq!(found(&[], None).ok(), tcp("127.0.0.1:9090", "/"));
    }

    #[test]
    fn an_address_is_asked_by_tls_where_there_are_files_for_that() {
        let tls = |authority: &str| Some(Target::Tls { authority: authority.to_owned(), path: "/".to_owned() });
        for files in [&["--cacert", "ca.pem"][..], &["--cert", "c.pem", "--key", "k.pem"]] {
            for (address, authority) in [(None, "127.0.0.1:9090"), (Some("10.0.0.7:9191"), "10.0.0.7:9191")] {
                let at = address.map(|address| ["--admin", address]);
                let arguments = [at.as_ref().map_or(&[][..], |at| at), files].concat();
                assert_eq!(found(&arguments, Some("t")).ok(), tls(authority), "{arguments:?}");
            }
        }
    }

    #[test]
    fn a_token_leaves_this_machine_in_clear_text_only_where_that_is_said() {
        let found = |address, token| found(&["--admin", address], token);
        for address in ["10.0.0.7:9090", "gateway.internal:9090", "[2001:db8::1]"] {
            assert!(matches!(found(address, Some("t")), Err(Error::Usage(why)) if why.contains(address)), "{address}");
            assert!(found(address, None).is_ok(), "{address}: nothing to tell");
        }
        assert_eq!(found("http://10.0.0.7:9090", Some("t")).ok(), tcp("10.0.0.7:9090", "/"));
        for address in ["127.0.0.1:9090", "127.8.8.8", "[::1]:9090", "localhost", ":9090"] {
            assert!(found(address, Some("t")).is_ok(), "{address}: it does not leave");
        }
    }

    /// The answer to a question, and what was asked.
    fn asked(answer: &'static str) -> (io::Result<Answer>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = tcp(&listener.local_addr().unwrap().to_string(), "/page").unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test of two sides")]
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let told = ask(
            &target,
            Question {
                method: Method::POST,
                body: "body".to_owned(),
                token: Some("t".to_owned()),
                ..Question::default()
            },
            Duration::from_secs(20),
        );
        (told, server.join().unwrap())
    }

    #[test]
    fn a_question_has_a_body_and_an_answer_a_status_and_one() {
        let (answer, question) = asked("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno");
        let answer = answer.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (503, "no"));
        assert!(question.starts_with("POST /page HTTP/1.1\r\nhost: 127.0.0.1:"), "{question}");
        assert!(question.contains("authorization: Bearer t\r\n"), "{question}");
    }

    #[test]
    fn nobody_there_is_an_error_and_so_is_an_answer_that_is_not_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = tcp(&listener.local_addr().unwrap().to_string(), "/").unwrap();
        let site = |patience| Site { root: target.clone(), token: None, secured: None, patience };
        let told = |patience| match site(patience).ask(Method::POST, "/reload", None) {
            Err(Error::Runtime(why)) => why,
            other => panic!("{other:?}"),
        };
        // It is connected to, and says nothing.
        let late = told(Duration::from_millis(10));
        assert!(late.ends_with("/reload: no answer within 0.01 s"), "{late}");
        drop(listener);
        let nobody = told(Duration::from_secs(20));
        assert!(nobody.contains("refused") && nobody.ends_with("; is the gateway running?"), "{nobody}");
        assert!(asked("SSH-2.0-OpenSSH\r\n").0.is_err());
        assert!(asked("HTTP/1.1 20").0.is_err());
    }
}
