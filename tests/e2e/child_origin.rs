//! An origin that is a process of its own, to be stopped, continued and killed.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::endpoint::own_loopback;
use super::process::{Lines, Process};

/// A running origin; it is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct ChildOrigin {
    process: Process,
    lines: Lines,
    address: SocketAddr,
}

impl ChildOrigin {
    /// Answers every request with `name`, at a port of the kernel's choice, which no other test is given should it be killed.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// The same with further arguments of `tests/interop/origin.py`, such as `--port` of one that was killed.
    pub(crate) fn start_with(name: &str, arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/origin.py");
        let mut command = Command::new("python3");
        let host = own_loopback().to_string();
        command
            .args([script, "--name", name, "--host", &host])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = Process::start(&mut command);
        let lines = Lines::of(process.child().stdout.take().expect("a pipe"));
        let address = lines.first("the address of an origin", |line| line.parse().ok());
        Self { process, lines, address }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that it read whole so far, as `METHOD PATH`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.lines.all().split_off(1)
    }

    /// Stops it in its tracks: the kernel goes on accepting for it, nothing is answered.
    pub(crate) fn freezes(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaws(&self) {
        self.process.signal(libc::SIGCONT);
    }

    /// Kills it, and waits for its end: its port is closed, its connections are reset.
    pub(crate) fn is_killed(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.exit_code();
    }
}
