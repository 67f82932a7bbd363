//! The access-log thread: drains every worker's ring and writes lines.
//!
//! Whatever happens to the output, nobody on the data path notices: a blocked write lets the rings fill and their
//! owners drop, a failed write loses its lines, and both are counted. A later write that succeeds is the recovery.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::config::Output;
use crate::telemetry::{Lines, LogDrain};

/// Pause after a round that found records.
const POLL: Duration = Duration::from_millis(10);
/// Longest pause while nothing comes.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Bytes written at once.
const BATCH_BYTES: usize = 256 * 1024;
/// Records taken from one ring before the next has its turn.
const TURN: usize = 256;

enum Order {
    /// Open the output again; it was renamed or replaced.
    Reopen(Output),
    /// Drain what is left and answer.
    Finish(Sender<()>),
}

/// The control side of the thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    orders: Sender<Order>,
    lost: Arc<AtomicU64>,
}

impl LogWriter {
    /// Opens `output` and starts the thread.
    ///
    /// # Errors
    /// The output cannot be opened, or the thread not started.
    pub(super) fn start(output: &Output, drains: Vec<LogDrain>) -> io::Result<Self> {
        let sink = open(output).map_err(|error| explain(output, &error))?;
        Self::with_sink(sink, drains)
    }

    fn with_sink(sink: Option<Box<dyn Write + Send>>, drains: Vec<LogDrain>) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let mut loop_state = Loop {
            drains,
            sink,
            lost: Arc::clone(&lost),
            lines: Lines::new(BATCH_BYTES),
            count: 0,
            torn: false,
            failing: false,
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || loop_state.run(&inbox))?;
        Ok(Self { orders, lost })
    }

    /// Where the lines lost because the output refused them are counted.
    pub(super) fn lost_cell(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Writes to `output` from now on, opened afresh even when its name is the same.
    pub(super) fn reopen(&self, output: &Output) {
        self.order(Order::Reopen(output.clone()));
    }

    /// Drains what is left and ends the thread; waits at most `patience`, and `false` says that it was not enough.
    pub(super) fn finish(self, patience: Duration) -> bool {
        let (done, ended) = channel();
        self.order(Order::Finish(done));
        ended.recv_timeout(patience).is_ok()
    }

    fn order(&self, order: Order) {
        // The thread ends only by `finish`, which takes the writer with it.
        drop(self.orders.send(order));
    }
}

/// What the thread owns.
struct Loop {
    drains: Vec<LogDrain>,
    sink: Option<Box<dyn Write + Send>>,
    lost: Arc<AtomicU64>,
    /// Lines that are to be written, and how many they are.
    lines: Lines,
    count: u64,
    /// The last write ended inside a line.
    torn: bool,
    /// The last write failed; reported once, not per line.
    failing: bool,
}

impl Loop {
    fn run(&mut self, inbox: &Receiver<Order>) {
        let mut pause = POLL;
        loop {
            let busy = self.drain_once();
            pause = if busy { POLL } else { (pause * 2).min(IDLE_POLL) };
            match inbox.recv_timeout(if self.backlog() { Duration::ZERO } else { pause }) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Reopen(output)) => self.reopen(&output),
                Ok(Order::Finish(done)) => {
                    while self.drain_once() {}
                    let _ = done.send(());
                    return;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Are there records that a full batch left behind?
    fn backlog(&self) -> bool {
        self.drains.iter().any(|drain| !drain.is_empty())
    }

    /// Takes a batch in turns from every ring and writes it; `false` when all were empty.
    fn drain_once(&mut self) -> bool {
        let mut found = true;
        while found && !self.lines.are_full() {
            found = false;
            for drain in &mut self.drains {
                for _ in 0..TURN {
                    if self.lines.are_full() {
                        break;
                    }
                    let Some(record) = drain.try_pop() else { break };
                    self.lines.add(&record);
                    self.count += 1;
                    found = true;
                }
            }
        }
        let any = self.count > 0;
        self.write_batch();
        any
    }

    fn write_batch(&mut self) {
        if let Some(sink) = self.sink.as_mut().filter(|_| self.count > 0) {
            let torn = std::mem::take(&mut self.torn);
            let bytes = if torn { self.lines.after_a_break() } else { self.lines.as_bytes() };
            match write_lines(sink.as_mut(), bytes) {
                Ok(()) if self.failing => {
                    self.failing = false;
                    tracing::info!(lost = self.lost.load(Ordering::Relaxed), "access log writes again");
                }
                Ok(()) => {}
                Err(Cut { error, written }) => {
                    self.torn = written > 0 && bytes[written - 1] != b'\n' || written == 0 && torn;
                    let whole =
                        bytes[usize::from(torn).min(written)..written].iter().filter(|byte| **byte == b'\n').count();
                    self.lost.fetch_add(self.count - whole as u64, Ordering::Relaxed);
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::error!(%error, "access log cannot be written, lines are lost and counted");
                    }
                }
            }
        }
        self.lines.clear();
        self.count = 0;
    }

    fn reopen(&mut self, output: &Output) {
        match open(output) {
            Ok(sink) => {
                self.sink = sink;
                self.torn = false;
                tracing::info!(output = name(output), "access log opened");
            }
            Err(error) => tracing::error!(error = %explain(output, &error), "access log stays with its last output"),
        }
    }
}

/// A write that ended early.
struct Cut {
    error: io::Error,
    written: usize,
}

#[allow(clippy::disallowed_methods, reason = "this thread has nothing else to do than to wait for its output")]
/// Writes everything; an output without room for the moment (a non-blocking terminal or pipe) is tried again.
fn write_lines(sink: &mut dyn Write, bytes: &[u8]) -> Result<(), Cut> {
    let mut written = 0;
    while written < bytes.len() {
        let error = match sink.write(&bytes[written..]) {
            Ok(0) => io::ErrorKind::WriteZero.into(),
            Ok(count) => {
                written += count;
                continue;
            }
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::WouldBlock {
            std::thread::sleep(POLL);
        } else if error.kind() != io::ErrorKind::Interrupted {
            return Err(Cut { error, written });
        }
    }
    Ok(())
}

/// Opens an output; `None` when there is none.
fn open(output: &Output) -> io::Result<Option<Box<dyn Write + Send>>> {
    Ok(match output {
        Output::Off => None,
        // A file of its own around the descriptor: the standard library's handle would buffer by line.
        Output::Stdout => Some(Box::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
        Output::File(path) => Some(Box::new(open_file(path)?)),
    })
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn name(output: &Output) -> String {
    match output {
        Output::Off => "off".to_owned(),
        Output::Stdout => "stdout".to_owned(),
        Output::File(path) => path.display().to_string(),
    }
}

fn explain(output: &Output, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("access log {}: {error}", name(output)))
}

#[cfg(test)]
mod tests;
