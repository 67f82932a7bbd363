//! `ringgate demo`.

mod origin;
mod requests;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use super::{Error, say};
use crate::config::Sources;
use crate::control::{self, Options, Source, Started, Stop};

/// What the gateway runs on.
const GATEWAY_YAML: &str = include_str!("../../config/demo.yaml");
/// Its name in reports.
const GATEWAY_NAME: &str = "config/demo.yaml";

/// Starts an origin and the gateway on config/demo.yaml, sends real requests, and stays up until Ctrl-C.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// End after the requests; exit code 1 when an answer is not the expected one.
    #[arg(long)]
    once: bool,
}

/// The built-in file, with the origin's address in place of its variables; what the environment sets wins.
struct BuiltIn {
    origin: SocketAddr,
}

impl Sources for BuiltIn {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path == Path::new(GATEWAY_NAME) { Ok(GATEWAY_YAML.as_bytes().to_vec()) } else { std::fs::read(path) }
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| match name {
            "DEMO_UPSTREAM" => Some(format!("http://{}", self.origin)),
            "DEMO_LISTEN" => Some(free(8080).to_string()),
            "DEMO_ADMIN" => Some(free(9090).to_string()),
            _ => None,
        })
    }

    fn glob(&self, _: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}

/// The port on loopback, or any port when it is taken.
fn free(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    if TcpListener::bind(wanted).is_ok() { wanted } else { SocketAddr::from(([127, 0, 0, 1], 0)) }
}

impl Demo {
    pub(super) fn run(self) -> Result<(), Error> {
        let runtime = |error: io::Error| Error::Runtime(error.to_string());
        let origin = origin::start().map_err(runtime)?;
        let source = Source::new(Some(PathBuf::from(GATEWAY_NAME)), Arc::new(BuiltIn { origin }));
        let stop = Stop::default();
        let (tell, told) = channel();
        let on_started = Box::new(move |started| drop(tell.send(started)));
        let options = Options { source, on_started: Some(on_started), stop: stop.clone(), is_whole_process: false };
        let gateway = thread::Builder::new().name("control".to_owned()).spawn(|| control::run(options));
        let gateway = gateway.map_err(runtime)?;
        // A gateway that does not start drops its end, and its result says why.
        let as_expected = told.recv().ok().map(|started| show(origin, &started));
        if self.once {
            stop.stop();
        } else if as_expected.is_some() {
            say("\nCtrl-C ends it.");
        }
        gateway.join().map_err(|_| Error::Runtime("the gateway panicked".to_owned()))??;
        match as_expected {
            Some(Ok(true)) => Ok(()),
            Some(Ok(false)) => Err(Error::Runtime("an answer is not the expected one".to_owned())),
            Some(Err(error)) => Err(runtime(error)),
            None => Err(Error::Runtime("the gateway ended before it served".to_owned())),
        }
    }
}

/// Sends the requests and prints what to try next; `false` when an answer was not the expected one.
fn show(origin: SocketAddr, started: &Started) -> io::Result<bool> {
    let gateway = started.listeners.first().map(|(_, address)| *address).ok_or(io::ErrorKind::NotFound)?;
    say(format_args!("\norigin   http://{origin}\ngateway  http://{gateway}   ({GATEWAY_NAME})\n"));
    let as_expected = requests::send_all(gateway)?;
    say("\nTry it:");
    for line in ["/hello", "/api/orders/7?x=1", "/old/page?x=1", "/robots.txt", "/health"] {
        say(format_args!("  curl -i 'http://{gateway}{line}'"));
    }
    say(format_args!("  curl -i -T README.md http://{gateway}/upload"));
    if let Some(admin) = &started.admin {
        say("\nLook inside:");
        for page in ["metrics", "status", "ready"] {
            say(format_args!("  curl http://{admin}/{page}"));
        }
    }
    Ok(as_expected)
}
