//! A server of Redis of the test's own, on a socket in a folder.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::process::Process;
use super::wait::until;

/// A running server; it is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Redis {
    process: Process,
    folder: Folder,
}

impl Redis {
    /// An empty one.
    pub(crate) fn start() -> Self {
        let folder = Folder::new();
        Self { process: run(&folder), folder }
    }

    /// Where gateways find it.
    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.folder.path("s").display())
    }

    /// Sets a key to a value, and tells nobody.
    pub(crate) fn sets(&self, key: &str, value: &str) {
        let mut stream = UnixStream::connect(self.folder.path("s")).expect("it listens");
        let length = value.len();
        let command = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${length}\r\n{value}\r\n", key.len());
        stream.write_all(command.as_bytes()).expect("it reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"+OK\r\n");
    }

    /// Stops it in its tracks: connections stay, nothing is answered.
    pub(crate) fn freezes(&self) {
        self.process.signal(libc::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn thaws(&self) {
        self.process.signal(libc::SIGCONT);
    }

    /// Kills it, and what it has counted with it.
    pub(crate) fn is_killed(&mut self) {
        self.process.signal(libc::SIGKILL);
        self.process.exit_code();
        drop(std::fs::remove_file(self.folder.path("s")));
    }

    /// Starts it again where it was, empty.
    pub(crate) fn returns(&mut self) {
        self.process = run(&self.folder);
    }
}

fn run(folder: &Folder) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--port", "0", "--unixsocket", "s", "--save", "", "--appendonly", "no"]);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let process = Process::start(&mut command);
    until("redis-server", || UnixStream::connect(folder.path("s")).ok());
    process
}
