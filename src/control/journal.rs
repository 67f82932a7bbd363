//! The log of the process itself: JSON lines on standard error, written by a thread of its own.
//!
//! Whoever has something to tell leaves it and goes on. A reader of standard error that stops reading must not stop control, nor a
//! full disk end it: lines that there is no room for, and lines that standard error does not take, are lost and counted.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::clock;

/// Environment variable with the filter, such as `debug` or `ringgate=trace`.
const FILTER_VARIABLE: &str = "RINGGATE_LOG";
/// Without that variable. The resolver's library complains of every odd packet, and our own log of every name that
/// fails or comes back.
const FILTER: &str = "info,hickory_net=off,hickory_proto=off,hickory_resolver=off";
/// Lines that wait to be written.
const WAITING: usize = 1024;
/// Longest wait for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The one log of the process: a demonstration and the tests run several gateways in one process.
static OUTBOX: OnceLock<SyncSender<Order>> = OnceLock::new();
/// Lines lost since the start.
static LOST: AtomicU64 = AtomicU64::new(0);

enum Order {
    /// Write this line.
    Write(Box<[u8]>),
    /// Tell when everything before this is written.
    Tell(Sender<()>),
}

/// Begins to log to standard error; a second call changes nothing.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn start() -> io::Result<()> {
    let (outbox, inbox) = sync_channel(WAITING);
    if OUTBOX.set(outbox.clone()).is_err() {
        return Ok(());
    }
    let filter = std::env::var(FILTER_VARIABLE).ok().and_then(|text| EnvFilter::try_new(text).ok());
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_timer(Rfc3339)
        .with_target(false)
        .with_env_filter(filter.unwrap_or_else(|| EnvFilter::new(FILTER)))
        .with_writer(move || Slot(outbox.clone()));
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || write(&inbox, Pen::new(io::stderr())))?;
    // A test may have set up another log.
    drop(subscriber.try_init());
    Ok(())
}

/// Waits until everything told so far is written, but not for long, nor where nobody reads.
pub(super) fn finish() {
    let (done, written) = channel();
    if OUTBOX.get().is_some_and(|outbox| outbox.try_send(Order::Tell(done)).is_ok()) {
        let _ = written.recv_timeout(PATIENCE);
    }
}

/// Lines lost since the start.
pub(super) fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

fn on_lost() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

fn write(inbox: &Receiver<Order>, mut pen: Pen<impl Write>) {
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Write(line) if pen.write(&line).is_err() => on_lost(),
            Order::Write(_) => {}
            Order::Tell(done) => drop(done.send(())),
        }
    }
}

/// Where a line is left; each comes whole.
struct Slot(SyncSender<Order>);

impl Write for Slot {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.try_send(Order::Write(line.into())).is_err() {
            on_lost();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines; one that was cut short is ended before the next begins.
struct Pen<W> {
    out: W,
    is_torn: bool,
}

impl<W: Write> Pen<W> {
    const fn new(out: W) -> Self {
        Self { out, is_torn: false }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.out.write_all(b"\n")?;
            self.is_torn = false;
        }
        let mut written = 0;
        while written < line.len() {
            match self.out.write(&line[written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (written, self.is_torn) = (written + count, written + count < line.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Times as in the access log.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    fn format_time(&self, writer: &mut Writer<'_>) -> std::fmt::Result {
        let time = clock::rfc3339(clock::unix_ms());
        writer.write_str(std::str::from_utf8(&time).map_err(|_| std::fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for so many bytes.
    struct Disk<'a>(&'a mut Vec<u8>, usize);

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.1 - self.0.len());
            self.0.extend_from_slice(&bytes[..count]);
            if count == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(count) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_was_cut_short_is_ended_before_the_next() {
        let mut kept = Vec::new();
        let mut pen = Pen::new(Disk(&mut kept, 7));
        pen.write(b"one\n").unwrap();
        for _ in 0..3 {
            pen.write(b"three\n").unwrap_err();
        }
        pen.out.1 = 100;
        pen.write(b"four\n").unwrap();
        pen.write(b"five\n").unwrap();
        assert_eq!(kept, b"one\nthr\nfour\nfive\n");
    }

    #[test]
    fn without_room_a_line_is_lost_and_nobody_waits() {
        let (outbox, inbox) = sync_channel(2);
        let before = lost();
        for line in [b"one\n", b"two\n", b"six\n"] {
            assert_eq!(Slot(outbox.clone()).write(line).unwrap(), 4);
        }
        assert!(lost() > before);
        drop(outbox);
        let mut kept = Vec::new();
        write(&inbox, Pen::new(&mut kept));
        assert_eq!(kept, b"one\ntwo\n");
    }
}
