//! A server of Redis of the test's own, on a socket in a folder.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
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

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path("s")
    }

    /// The first line of the answer to each of these commands.
    pub(crate) fn says<const N: usize>(&self, commands: [&str; N]) -> [String; N] {
        let mut stream = UnixStream::connect(self.socket()).expect("it listens");
        stream.write_all((commands.join("\r\n") + "\r\n").as_bytes()).expect("it reads");
        let mut reader = BufReader::new(stream);
        commands.map(|_| {
            let mut line = String::new();
            reader.read_line(&mut line).expect("it answers");
            line.trim_end().to_owned()
        })
    }

    /// Sets a key to a value, and tells nobody.
    pub(crate) fn sets(&self, key: &str, value: &str) {
        self.obeys(&["SET", key, value]);
    }

    /// The value of a key.
    pub(crate) fn gets(&self, key: &str) -> Option<String> {
        let mut reader = self.asked(&["GET", key]);
        let mut line = String::new();
        reader.read_line(&mut line).expect("it answers");
        let length = line.trim_end().strip_prefix('$').expect("a string").parse::<i64>().expect("a length");
        let mut value = vec![0; usize::try_from(length).ok()?];
        reader.read_exact(&mut value).expect("it answers");
        Some(String::from_utf8(value).expect("text"))
    }

    /// Has it carry out a command that is answered with OK.
    pub(crate) fn obeys(&self, words: &[&str]) {
        let mut line = String::new();
        self.asked(words).read_line(&mut line).expect("it answers");
        assert_eq!(line, "+OK\r\n", "{words:?}");
    }

    fn asked(&self, words: &[&str]) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(self.folder.path("s")).expect("it listens");
        let count = words.len();
        let words: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
        stream.write_all(format!("*{count}\r\n{words}").as_bytes()).expect("it reads");
        BufReader::new(stream)
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

    /// Starts it again where it was, with one key before anybody can find it.
    pub(crate) fn starts_with(&mut self, key: &str, value: &str) {
        let elsewhere = Self::start();
        elsewhere.sets(key, value);
        elsewhere.obeys(&["SAVE"]);
        std::fs::rename(elsewhere.folder.path("dump.rdb"), self.folder.path("dump.rdb")).expect("one file system");
        self.returns();
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
