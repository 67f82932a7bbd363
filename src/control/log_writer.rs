//! The access-log thread: drains every worker's ring and writes lines.
//!
//! Whatever happens to the output, nobody on the data path notices: a blocked write lets the rings fill and their
//! owners drop, a failed write loses its lines, and both are counted. A later write that succeeds is the recovery.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::config::Output;
use crate::telemetry::{Lines, LogDrain};

/// Pause after a round that found records.
const POLL: Duration = Duration::from_millis(10);
/// Longest pause while nothing comes.
const IDLE_POLL: Duration = Duration::from_millis(100);
/// Bytes written at once.
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes written at once to what is no regular file: so many go in one piece even when another process writes to it as well
/// (PIPE_BUF of Linux, pipe(7)), as the one that this one takes over from does.
const PIECE_BYTES: usize = 4096;
/// Records taken from one ring before the next has its turn.
const TURN: usize = 256;

/// Longest wait for an output without room until it is looked whether another one is wanted instead.
const STUCK_MS: u16 = 100;
/// Longest wait for an output to be opened.
pub(super) const OPENING: Duration = Duration::from_secs(5);

enum Order {
    /// Open the output again; it was renamed or replaced.
    Reopen(Output),
    /// Write there from now on.
    Use(Log),
    /// Drain what is left and answer.
    Finish(Sender<()>),
}

/// The control side of the thread.
#[derive(Debug)]
pub(super) struct LogWriter {
    orders: Sender<Order>,
    lost: Arc<AtomicU64>,
    astray: Arc<AtomicBool>,
}

impl LogWriter {
    /// Opens `output` and starts the thread.
    ///
    /// # Errors
    /// The output cannot be opened, or the thread not started.
    pub(super) fn start(output: &Output, drains: Vec<LogDrain>) -> io::Result<Self> {
        Self::with_sink(Log::open(output)?.sink, drains)
    }

    fn with_sink(sink: Option<Sink>, drains: Vec<LogDrain>) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let (lost, astray) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut loop_state = Loop {
            torn: sink.as_ref().is_some_and(|sink| sink.torn == Some(true)),
            drains,
            sink,
            lost: Arc::clone(&lost),
            lines: Lines::new(BATCH_BYTES),
            count: 0,
            failing: false,
            astray: Arc::clone(&astray),
            inbox,
            next: None,
        };
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || loop_state.run())?;
        Ok(Self { orders, lost, astray })
    }

    /// Where the lines lost because the output refused them are counted.
    pub(super) fn lost_cell(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Is the last output that it was to open not the one that it writes to?
    pub(super) fn is_astray(&self) -> bool {
        self.astray.load(Ordering::Relaxed)
    }

    /// Opens `output`, to which it writes already, afresh.
    pub(super) fn reopen(&self, output: &Output) {
        self.order(Order::Reopen(output.clone()));
    }

    /// Writes there from now on.
    pub(super) fn write_to(&self, log: Log) {
        self.order(Order::Use(log));
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

/// An output that was opened, or none.
pub(super) struct Log {
    sink: Option<Sink>,
    name: String,
}

impl Log {
    /// Opens `output`; waits for a disk at most, and never for a reader.
    ///
    /// # Errors
    /// One sentence that names it.
    pub(super) fn open(output: &Output) -> io::Result<Self> {
        let name = name(output);
        let sink = open(output).map_err(|error| {
            io::Error::new(error.kind(), format!("the access log {name} cannot be opened: {error}"))
        })?;
        Ok(Self { sink, name })
    }

    /// The same on a thread of its own, as a disk may be slow, which is waited for a while.
    ///
    /// # Errors
    /// One sentence that names it.
    pub(super) async fn open_apart(output: Output) -> Result<Self, String> {
        let late = format!("the access log {} cannot be opened in time", name(&output));
        let opening = tokio::task::spawn_blocking(move || Self::open(&output));
        match tokio::time::timeout(OPENING, opening).await {
            Ok(Ok(opened)) => opened.map_err(|error| error.to_string()),
            Ok(Err(_)) | Err(_) => Err(late),
        }
    }
}

/// What lines are written to.
trait Out: Write + Send {
    /// Waits for room, but not for long; `false` when there is none.
    fn has_room(&self) -> bool;
}

impl Out for File {
    fn has_room(&self) -> bool {
        let mut asked = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        // What fails here is told better by the write.
        poll(&mut asked, PollTimeout::from(STUCK_MS)) != Ok(0)
    }
}

/// An output that is open.
struct Sink {
    to: Box<dyn Out>,
    /// Most bytes of a write of several lines.
    piece_bytes: usize,
    /// Did it end inside a line when it was opened? Only regular files can be asked.
    torn: Option<bool>,
}

/// What the thread owns.
struct Loop {
    drains: Vec<LogDrain>,
    sink: Option<Sink>,
    lost: Arc<AtomicU64>,
    /// Lines that are to be written, and how many they are.
    lines: Lines,
    count: u64,
    /// The last write ended inside a line.
    torn: bool,
    /// The last write failed; reported once, not per line.
    failing: bool,
    /// The output that is wanted could not be opened, and the one before is written to, if there is one.
    astray: Arc<AtomicBool>,
    inbox: Receiver<Order>,
    /// An order that came while a write waited.
    next: Option<Order>,
}

impl Loop {
    fn run(&mut self) {
        let mut pause = POLL;
        loop {
            let busy = self.drain_once();
            pause = if busy { POLL } else { (pause * 2).min(IDLE_POLL) };
            let wait = if self.backlog() { Duration::ZERO } else { pause };
            match self.next.take().map_or_else(|| self.inbox.recv_timeout(wait), Ok) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Order::Reopen(output)) => self.reopen(&output),
                Ok(Order::Use(log)) => self.take_up(log),
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
            let is_replaced = || {
                self.next = self.next.take().or_else(|| self.inbox.try_recv().ok());
                matches!(self.next, Some(Order::Reopen(_) | Order::Use(_)))
            };
            match write_lines(sink, bytes, is_replaced) {
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
        } else if self.astray.load(Ordering::Relaxed) {
            self.lost.fetch_add(self.count, Ordering::Relaxed);
        }
        self.lines.clear();
        self.count = 0;
    }

    fn reopen(&mut self, output: &Output) {
        match Log::open(output) {
            Ok(log) => self.take_up(log),
            Err(error) => {
                self.astray.store(true, Ordering::Relaxed);
                tracing::error!(%error, "access log stays with its last output");
            }
        }
    }

    fn take_up(&mut self, Log { sink, name }: Log) {
        // It may be the same output as before.
        let known = sink.as_ref().and_then(|sink| sink.torn);
        self.torn = known.unwrap_or(self.torn);
        self.sink = sink;
        self.astray.store(false, Ordering::Relaxed);
        tracing::info!(output = name, "access log opened");
    }
}

/// A write that ended early.
struct Cut {
    error: io::Error,
    written: usize,
}

#[allow(clippy::disallowed_methods, reason = "this thread has nothing else to do than to wait for its output")]
/// Writes everything; an output without room for the moment (a terminal or pipe whose reader is slow) is tried again, unless
/// another one is to take its place.
fn write_lines(sink: &mut Sink, bytes: &[u8], mut is_replaced: impl FnMut() -> bool) -> Result<(), Cut> {
    let mut written = 0;
    while written < bytes.len() {
        if sink.piece_bytes == PIECE_BYTES && !sink.to.has_room() {
            if is_replaced() {
                let error = io::Error::new(io::ErrorKind::TimedOut, "nobody reads it, and it is to be left");
                return Err(Cut { error, written });
            }
            continue;
        }
        let mut piece = piece(&bytes[written..], sink.piece_bytes);
        if sink.piece_bytes == PIECE_BYTES {
            // Of a longer line no more than there is room for: the rest would be waited for in the kernel.
            piece = &piece[..piece.len().min(PIECE_BYTES)];
        }
        let error = match sink.to.write(piece) {
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

/// The whole lines at the front of `lines` that go into `most` bytes, or the first one if it is longer.
fn piece(lines: &[u8], most: usize) -> &[u8] {
    if lines.len() <= most {
        return lines;
    }
    let ends = |from: usize| memchr::memchr(b'\n', &lines[from..]).map_or(lines.len(), |at| from + at + 1);
    let length = memchr::memrchr(b'\n', &lines[..most]).map_or_else(|| ends(most), |at| at + 1);
    &lines[..length]
}

/// Opens an output; `None` when there is none.
fn open(output: &Output) -> io::Result<Option<Sink>> {
    Ok(match output {
        Output::Off => None,
        // A file of its own around the descriptor: the standard library's handle would buffer by line.
        Output::Stdout => Some(Sink::new(File::from(io::stdout().as_fd().try_clone_to_owned()?))),
        Output::File(path) => {
            let mut sink = Sink::new(open_file(path)?);
            // Of what is no regular file a second descriptor might wait for a writer, and could not be asked anyway.
            if sink.piece_bytes == BATCH_BYTES {
                sink.torn = is_torn(path).ok();
            }
            Some(sink)
        }
    })
}

impl Sink {
    fn new(file: File) -> Self {
        let is_regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Self { to: Box::new(file), piece_bytes: if is_regular { BATCH_BYTES } else { PIECE_BYTES }, torn: None }
    }
}

/// Does a file end inside a line? A disk may have been full there, or the machine have stopped.
fn is_torn(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    if std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        // Open in both directions it waits for no reader, and outlives one that is started anew (fifo(7)).
        options.read(true).custom_flags(libc::O_NONBLOCK);
    }
    options.open(path)
}

fn name(output: &Output) -> String {
    match output {
        Output::Off => "off".to_owned(),
        Output::Stdout => "stdout".to_owned(),
        Output::File(path) => path.display().to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests;
