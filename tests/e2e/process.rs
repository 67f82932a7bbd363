//! The binary as a child process: its lines, its signals, what the kernel says of it.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use super::wait::{thread, until};

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_ringgate");

/// A child that is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
}

/// The lines of one output of a child, read by a thread of their own.
#[derive(Debug)]
pub(crate) struct Lines {
    inbox: Receiver<String>,
    seen: RefCell<Vec<String>>,
}

/// Variables that would change what the binary does.
const VARIABLES: [&str; 7] = [
    "LISTEN_ADDR",
    "UPSTREAM_URL",
    "CONFIG_PORT",
    "RINGGATE_LOG",
    "RINGGATE_WORKERS",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
];

/// The command of the binary, without the environment variables that would change what it does.
pub(crate) fn binary() -> Command {
    program(BINARY)
}

/// The same for a program that is the binary by another path, or starts it.
pub(crate) fn program(path: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(path);
    for name in VARIABLES {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

impl Process {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, ended: None }
    }

    /// The process itself.
    pub(crate) const fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a system call without memory; the child has not been waited for, so its number is still its own.
        let sent = unsafe { libc::kill(self.pid(), signal) };
        assert_eq!(sent, 0, "signal {signal}");
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().expect("a child of this process");
        }
        self.ended
    }

    /// Waits for its end.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        until("the end of the process", || self.ended()).code()
    }

    /// Bytes of memory that it has resident.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.bytes_of("VmRSS:")
    }

    /// Those of them that the kernel cannot take back.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.bytes_of("RssAnon:") + self.bytes_of("RssShmem:")
    }

    fn bytes_of(&self, name: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find(|line| line.starts_with(name)).expect("a living process");
        let kibibytes: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
        kibibytes * 1024
    }

    /// Descriptors that it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a living process").count()
    }

    /// CPU time that it has used, in hundredths of a second.
    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
        fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number")
    }

    /// The name of each thread, and what the kernel says of it behind this key, such as the CPUs that it may run on.
    pub(crate) fn threads(&self, key: &str) -> Vec<(String, String)> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a living process");
        // One may end meanwhile.
        let statuses = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("status")).ok());
        let value = |status: &str, key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line of the kernel's");
            line.trim().to_owned()
        };
        statuses.map(|status| (value(&status, "Name:"), value(&status, key))).collect()
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.pid())).expect("a living process")
    }

    /// Bounds the descriptors it may open from now on.
    pub(crate) fn bounds_descriptors(&self, limit: u64) {
        let bound = libc::rlimit { rlim_cur: limit, rlim_max: limit.max(4096) };
        // SAFETY: the limit outlives the call, and the old one is not asked for.
        let set = unsafe { libc::prlimit(self.pid(), libc::RLIMIT_NOFILE, &raw const bound, std::ptr::null_mut()) };
        assert_eq!(set, 0, "prlimit");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

impl Lines {
    /// Reads `output` until it ends.
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let (lines, inbox) = channel();
        // The thread ends with the output, which the child's end closes.
        drop(thread("lines", move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    return;
                }
            }
        }));
        Self { inbox, seen: RefCell::default() }
    }

    /// Everything so far.
    pub(crate) fn all(&self) -> Vec<String> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.inbox.try_iter());
        seen.clone()
    }

    /// Waits until there are no more to come: the end of the child says nothing about the thread that reads.
    pub(crate) fn end(&self) {
        until("the end of an output", || {
            let mut seen = self.seen.borrow_mut();
            seen.extend(self.inbox.try_iter());
            (self.inbox.try_recv().map(|line| seen.push(line)) == Err(TryRecvError::Disconnected)).then_some(())
        });
    }

    /// Waits for the first line for which `wanted` gives something.
    pub(crate) fn first<T>(&self, what: &str, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        until(what, || self.all().iter().find_map(|line| wanted(line)))
    }
}
