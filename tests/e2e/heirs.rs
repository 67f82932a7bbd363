//! A gateway and the processes that take its place one after the other, and clients that watch for a gap between them.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use super::folder::Folder;
use super::gateway::Gateway;
use super::process::{BINARY, binary, program};
use super::wait::{thread, until, until_true};
use super::wire::Wire;

/// A gateway whose program can be replaced; whoever took its place is killed when the test is done with it.
pub(crate) struct Heirs {
    pub(crate) gateway: Gateway,
    /// The process that serves.
    pub(crate) serving: i32,
}

impl Heirs {
    /// Starts a gateway on `yaml`.
    pub(crate) fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml, |_| {})
    }

    /// The same in a directory, by a command that `change` has changed.
    pub(crate) fn start_in(folder: Folder, yaml: &str, change: impl FnOnce(&mut Command)) -> Self {
        // A process whose parent has ended becomes a child of this one, so that how it ends can be told.
        // SAFETY: it sets a flag of this process.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
        let file = folder.write("gateway.yaml", yaml);
        let path = folder.path("ringgate");
        symlink(BINARY, &path).expect("a link in the temporary directory");
        let mut command = program(path);
        command.arg("run").arg("-c").arg(file).current_dir(&folder);
        change(&mut command);
        let gateway = Gateway::start_with(folder, &mut command);
        let serving = gateway.process.pid();
        Self { gateway, serving }
    }

    /// Has another program lie where the binary lay.
    pub(crate) fn places(&self, target: impl AsRef<Path>) {
        let (next, path) = (self.gateway.folder.path("next~"), self.gateway.folder.path("ringgate"));
        symlink(target, &next).expect("a link in the temporary directory");
        std::fs::rename(next, path).expect("a rename in one directory");
    }

    /// Has a script lie where the binary lay.
    pub(crate) fn places_script(&self, name: &str, script: &str) {
        let path = self.gateway.folder.write(name, format!("#!/bin/sh\n{script}\n"));
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("our own file");
        self.places(path);
    }

    /// Runs `ringgate upgrade`.
    pub(crate) fn asks_for_upgrade(&self) -> Output {
        let admin = format!("http://{}", self.gateway.admin());
        binary().args(["upgrade", "--admin", &admin]).output().expect("a child")
    }

    /// Upgrades; the process that was replaced.
    pub(crate) fn upgrades(&mut self) -> i32 {
        self.upgrades_to_epoch(1)
    }

    /// Upgrades to a process that serves by that epoch, the second where it has taken up what operators gave the old one; the
    /// process that was replaced.
    pub(crate) fn upgrades_to_epoch(&mut self, epoch: u64) -> i32 {
        let output = self.asks_for_upgrade();
        let (said, notices) = (String::from_utf8_lossy(&output.stdout), self.gateway.notices.all().join("\n"));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}{complaint}{notices}");
        let old = self.is_replaced();
        assert!(said.contains(&format!("process {} serves, epoch {epoch}", self.serving)), "{said}");
        old
    }

    /// Looks who serves now, which must be another process.
    pub(crate) fn is_replaced(&mut self) -> i32 {
        let status = self.gateway.status();
        let old = std::mem::replace(&mut self.serving, i32::try_from(status["pid"].as_u64().unwrap()).unwrap());
        assert_ne!(self.serving, old);
        assert_eq!((&status["replaced_pid"], &status["ready"]), (&old.into(), &true.into()), "{status}");
        old
    }

    /// Waits until a process has ended; its exit code.
    pub(crate) fn exit_code_of(&mut self, pid: i32) -> Option<i32> {
        if pid == self.gateway.process.pid() {
            return self.gateway.process.exit_code();
        }
        let mut status = 0;
        until("the end of a process", || {
            // SAFETY: the status outlives the call; the process is a child of this one since its parent ended.
            (unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) } == pid).then_some(())
        });
        libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status))
    }

    /// Ends whoever serves, gracefully.
    pub(crate) fn stop(mut self) {
        let panics = self.gateway.notices.all().iter().any(|line| line.contains("panicked"));
        assert!(!panics, "{}", self.gateway.notices.all().join("\n"));
        self.signals(libc::SIGTERM);
        assert_eq!(self.exit_code_of(self.serving), Some(0), "{}", self.gateway.notices.all().join("\n"));
        self.serving = self.gateway.process.pid();
    }

    /// Sends a signal to whoever serves.
    pub(crate) fn signals(&self, signal: i32) {
        // SAFETY: a system call without memory; nobody has waited for that process, so its number is still its own.
        assert_eq!(unsafe { libc::kill(self.serving, signal) }, 0);
    }
}

impl Drop for Heirs {
    fn drop(&mut self) {
        if self.serving != self.gateway.process.pid() {
            // SAFETY: as in `signals`.
            unsafe { libc::kill(self.serving, libc::SIGKILL) };
        }
    }
}

/// Clients that ask one request after the other, each on a connection of its own, until they are told to end.
pub(crate) struct Load {
    answered: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    /// `clients` threads that `ask`.
    pub(crate) fn of(clients: usize, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        let (answered, ends, ask) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(ask));
        let client = |_| {
            let (answered, ends, ask) = (Arc::clone(&answered), Arc::clone(&ends), Arc::clone(&ask));
            thread("load", move || {
                let mut failures = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    match ask() {
                        Ok(()) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                        Err(failure) => failures.push(failure),
                    }
                }
                failures
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { answered, ends, clients }
    }

    /// Clients of plain HTTP/1.1 that ask for `/x` and want an echo.
    pub(crate) fn plain(clients: usize, address: SocketAddr) -> Self {
        Self::of(clients, move || {
            let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
            let mut wire = Wire::new(stream);
            let sent = wire.try_send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            sent.map_err(|error| format!("send: {error}"))?;
            let answer = wire.try_reads_to_end();
            let text = String::from_utf8_lossy(&answer);
            let is_whole = text.starts_with("HTTP/1.1 200") && text.ends_with("GET /x HTTP/1.1");
            if is_whole { Ok(()) } else { Err(format!("answered {text:?}")) }
        })
    }

    /// Clients that keep their connections for 40 requests each, or until they are told that it is over: a request that was
    /// sent on one is answered. What is counted are connections.
    pub(crate) fn keeping(clients: usize, address: SocketAddr) -> Self {
        Self::of(clients, move || {
            let stream = TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
            let mut wire = Wire::new(stream);
            for number in 0..40 {
                let sent = wire.try_send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n");
                sent.map_err(|error| format!("send {number}: {error}"))?;
                let mut answer = wire.try_reads_head().ok_or_else(|| format!("request {number} was not answered"))?;
                wire.reads_body(&mut answer);
                if answer.status() != 200 {
                    return Err(format!("answered {answer}"));
                }
                if answer.field("connection") == Some("close") {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Requests answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits for further answers.
    pub(crate) fn goes_on(&self, further: u64) {
        let wanted = self.answered() + further;
        until_true("further answers", || self.answered() >= wanted);
    }

    /// Ends it; nothing may have failed. How many were answered.
    pub(crate) fn ends_whole(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        let failures: Vec<String> =
            self.clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect();
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(
            failures.is_empty(),
            "{} of {answered} failed: {:?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        answered
    }
}
