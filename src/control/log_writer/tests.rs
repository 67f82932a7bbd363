use std::net::{IpAddr, Ipv4Addr};
use std::sync::Mutex;

use super::*;
use crate::limits;
use crate::telemetry::{LogRing, Record, ring};

const PATIENCE: Duration = Duration::from_secs(20);

pub(in crate::control) fn record(epoch: u64) -> Record<'static> {
    Record {
        unix_ms: 0,
        protocol: Some(1),
        method: b"GET",
        path: b"/",
        query: false,
        host: b"",
        status: 200,
        duration_ns: 0,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        request_id: b"",
        trace_id: b"",
        route: b"",
        cluster: b"",
        endpoint: None,
        upstream_protocol: None,
        attempts: 0,
        grpc_status: None,
        bytes_in: 0,
        bytes_out: 0,
        reason: None,
        fault: "",
        stage: "",
        detail: "",
        user_agent: b"",
        sni: b"",
        client_cert: b"",
        identity: b"",
        head_ns: 0,
        admit_ns: 0,
        queue_ns: 0,
        connect_ns: 0,
        first_byte_ns: 0,
        body_ns: 0,
        reused: false,
        epoch,
    }
}

fn push(ring: &mut LogRing, epochs: std::ops::Range<u64>) {
    for epoch in epochs {
        assert!(ring.try_push(&record(epoch)));
    }
}

fn epochs(text: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .map(|line| line["epoch"].as_u64().unwrap())
        .collect()
}

/// What a test's output was given, and how it answers the next writes.
#[derive(Clone, Default)]
struct Script {
    written: Arc<Mutex<Vec<u8>>>,
    answers: Arc<Mutex<Vec<io::Result<usize>>>>,
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut answers = self.answers.lock().unwrap();
        let count = if answers.is_empty() { bytes.len() } else { answers.remove(0)?.min(bytes.len()) };
        self.written.lock().unwrap().extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Out for Script {
    fn has_room(&self) -> bool {
        true
    }
}

impl Script {
    /// An output like a regular file.
    fn sink(&self) -> Option<Sink> {
        Some(Sink { to: Box::new(self.clone()), piece_bytes: BATCH_BYTES, torn: None })
    }

    fn text(&self) -> String {
        String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
    }
}

/// A temporary folder, removed with its test.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringgate-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn state(sink: Option<Sink>, drain: LogDrain) -> Loop {
    Loop {
        drains: vec![drain],
        sink,
        lost: Arc::default(),
        lines: Lines::new(BATCH_BYTES),
        count: 0,
        torn: false,
        failing: false,
        astray: Arc::default(),
        inbox: channel().1,
        next: None,
    }
}

#[test]
fn the_last_lines_of_every_ring_are_written_before_the_end() {
    let script = Script::default();
    let (mut one, drain_one) = ring();
    let (mut two, drain_two) = ring();
    push(&mut one, 0..1_000);
    push(&mut two, 1_000..2_000);
    let writer = LogWriter::with_sink(script.sink(), vec![drain_one, drain_two]).unwrap();
    assert!(writer.finish(PATIENCE));
    let mut seen = epochs(&script.text());
    seen.sort_unstable();
    assert_eq!(seen, (0..2_000).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_costs_its_lines_and_nothing_else() {
    let (mut ring, drain) = ring();
    push(&mut ring, 0..50);
    let writer = LogWriter::start(&Output::File("/dev/full".into()), vec![drain]).unwrap();
    let lost = Arc::clone(&writer.lost);
    assert!(writer.finish(PATIENCE));
    assert_eq!(lost.load(Ordering::Relaxed), 50);
}

#[test]
fn a_line_torn_by_an_error_does_not_swallow_the_next_one() {
    let script = Script::default();
    let (mut ring, drain) = ring();
    let mut state = state(script.sink(), drain);
    *script.answers.lock().unwrap() = vec![Ok(10), Err(io::ErrorKind::StorageFull.into())];
    push(&mut ring, 0..2);
    assert!(state.drain_once());
    assert_eq!(state.lost.load(Ordering::Relaxed), 2);
    *script.answers.lock().unwrap() = vec![Err(io::ErrorKind::StorageFull.into())];
    push(&mut ring, 2..3);
    assert!(state.drain_once());
    assert_eq!(state.lost.load(Ordering::Relaxed), 3);
    push(&mut ring, 3..4);
    assert!(state.drain_once());
    assert_eq!(epochs(&script.text()), [3]);
    assert_eq!(state.lost.load(Ordering::Relaxed), 3);
    assert!(!state.failing && !state.drain_once());
}

#[test]
fn an_interrupted_or_momentarily_full_output_loses_nothing() {
    let script = Script::default();
    *script.answers.lock().unwrap() =
        vec![Err(io::ErrorKind::Interrupted.into()), Ok(3), Err(io::ErrorKind::WouldBlock.into())];
    let (mut ring, drain) = ring();
    push(&mut ring, 0..3);
    let writer = LogWriter::with_sink(script.sink(), vec![drain]).unwrap();
    assert!(writer.finish(PATIENCE));
    assert_eq!(epochs(&script.text()), [0, 1, 2]);
}

#[test]
fn a_renamed_file_is_left_and_a_new_one_begun_on_reopen() {
    let folder = Folder::new("reopen");
    let path = folder.0.join("access.log");
    let old = folder.0.join("access.log.1");
    let output = Output::File(path.clone());
    let (mut ring, drain) = ring();
    let mut state = state(open(&output).unwrap(), drain);
    push(&mut ring, 0..1);
    assert!(state.drain_once());
    std::fs::rename(&path, &old).unwrap();
    push(&mut ring, 1..2);
    assert!(state.drain_once());
    state.reopen(&output);
    push(&mut ring, 2..3);
    assert!(state.drain_once());
    assert_eq!(epochs(&std::fs::read_to_string(&old).unwrap()), [0, 1]);
    assert_eq!(epochs(&std::fs::read_to_string(&path).unwrap()), [2]);
}

/// A disk was full in the middle of a line, and the output is opened again before a line is written: as the same file, as one
/// that ends in order, and as a new one.
#[test]
fn a_line_torn_before_a_reopen_does_not_swallow_the_next_one() {
    let folder = Folder::new("torn");
    let path = folder.0.join("access.log");
    for (before, after) in [("{\"epoch\":0}\n{\"epo", 1), ("{\"epoch\":0}\n", 0), ("", 0)] {
        std::fs::write(&path, before).unwrap();
        let (mut ring, drain) = ring();
        let mut state = state(None, drain);
        state.torn = true;
        state.reopen(&Output::File(path.clone()));
        push(&mut ring, 7..8);
        assert!(state.drain_once());
        let text = std::fs::read_to_string(&path).unwrap();
        let added = text.strip_prefix(before).unwrap();
        assert_eq!(added.lines().filter(|line| line.is_empty()).count(), after, "{text}");
        assert_eq!(epochs(&text).last(), Some(&7), "{text}");
    }
}

#[test]
fn what_cannot_be_asked_how_it_ends_is_taken_for_what_it_was() {
    for torn in [true, false] {
        let (_ring, drain) = ring();
        let mut state = state(None, drain);
        state.torn = torn;
        state.reopen(&Output::File("/dev/null".into()));
        assert_eq!(state.torn, torn);
    }
}

#[test]
fn a_line_torn_by_an_earlier_process_does_not_swallow_the_first_one() {
    let folder = Folder::new("earlier");
    let path = folder.0.join("access.log");
    std::fs::write(&path, "{\"epo").unwrap();
    let (mut ring, drain) = ring();
    push(&mut ring, 3..4);
    assert!(LogWriter::start(&Output::File(path.clone()), vec![drain]).unwrap().finish(PATIENCE));
    assert_eq!(epochs(&std::fs::read_to_string(&path).unwrap()), [3]);
}

#[test]
fn pieces_hold_whole_lines_and_a_longer_one_goes_alone() {
    let mut rest = &b"\naa\nbb\ncccccccccc\ndd\ne\n"[..];
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        let one = piece(rest, 8);
        pieces.push(str::from_utf8(one).unwrap());
        rest = &rest[one.len()..];
    }
    assert_eq!(pieces, ["\naa\nbb\n", "cccccccccc\n", "dd\ne\n"]);
    assert_eq!(piece(b"cccccccc\ndd\n", 8), b"cccccccc\n");
    assert_eq!(piece(b"ccccccc\ndd\n", 8), b"ccccccc\n");
    assert_eq!(piece(b"open at its end", 8), b"open at its end", "whatever it is, it moves on");
}

/// A pipe whose other writers must not come between: the writes of a packet pipe stay apart, so that each can be looked at.
#[test]
fn what_others_may_write_to_as_well_is_written_in_pieces_of_whole_lines() {
    let (ours, theirs) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let (mut ring, drain) = ring();
    push(&mut ring, 0..200);
    let sink = Sink::new(File::from(std::os::fd::OwnedFd::from(ours)));
    let writer = LogWriter::with_sink(Some(sink), vec![drain]).unwrap();
    let mut seen = Vec::new();
    let mut piece = vec![0; BATCH_BYTES];
    while seen.len() < 200 {
        let length = theirs.recv(&mut piece).unwrap();
        assert!(length <= PIECE_BYTES && piece[length - 1] == b'\n', "{length}");
        seen.extend(epochs(str::from_utf8(&piece[..length]).unwrap()));
    }
    assert!(writer.finish(PATIENCE));
    assert_eq!(seen, (0..200).collect::<Vec<_>>());
}

#[test]
fn an_output_that_cannot_be_opened_is_named() {
    let error = LogWriter::start(&Output::File("/nonexistent/access.log".into()), Vec::new()).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/access.log"), "{error}");
}

#[test]
fn a_stopped_reader_does_not_hold_up_the_end() {
    /// Blocks until its test ends.
    struct Stopped(Receiver<()>);
    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Out for Stopped {
        fn has_room(&self) -> bool {
            true
        }
    }
    let (release, gate) = channel();
    let (mut ring, drain) = ring();
    push(&mut ring, 0..1);
    let writer = LogWriter::with_sink(
        Some(Sink { to: Box::new(Stopped(gate)), piece_bytes: BATCH_BYTES, torn: None }),
        vec![drain],
    )
    .unwrap();
    assert!(!writer.finish(Duration::from_millis(50)));
    let mut dropped = 0;
    for epoch in 0..20_000 {
        dropped += u64::from(!ring.try_push(&record(epoch)));
    }
    assert!(dropped > 0, "a ring that nobody drains must fill");
    drop(release);
}

/// Nobody reads a pipe any more: another output is written to from then on, and what was stuck is counted.
#[test]
fn a_stuck_output_is_left_for_another() {
    leaves_a_stuck_output(0);
}

/// So it is inside a line that does not go into the pipe in one piece.
#[test]
fn a_stuck_output_is_left_inside_a_long_line() {
    leaves_a_stuck_output(limits::LOG_FIELD_BYTES);
}

fn leaves_a_stuck_output(path_bytes: usize) {
    let folder = Folder::new(&format!("stuck-{path_bytes}"));
    // Each of them is six bytes of a line.
    let long = vec![0x1b; path_bytes];
    let path = folder.0.join("access.log");
    let (reader, pipe) = io::pipe().unwrap();
    let (mut room, _undrained) = ring();
    let fits = (0..).take_while(|epoch| room.try_push(&Record { path: &long, ..record(*epoch) })).count() as u64;
    let (mut ring, drain) = ring();
    let writer =
        LogWriter::with_sink(Some(Sink::new(File::from(std::os::fd::OwnedFd::from(pipe)))), vec![drain]).unwrap();
    // More than fit are there only once a batch was taken, which is more than fits the pipe.
    let (mut pushed, began_ns) = (0, crate::clock::now_ns());
    while pushed <= fits {
        assert!(crate::clock::now_ns() - began_ns < 20_000_000_000, "nothing is taken");
        if ring.try_push(&Record { path: &long, ..record(pushed) }) {
            pushed += 1;
        } else {
            std::thread::yield_now();
        }
    }
    writer.write_to(Log::open(&Output::File(path.clone())).unwrap());
    let lost = Arc::clone(&writer.lost);
    assert!(writer.finish(PATIENCE));
    drop(ring);
    let through = io::read_to_string(reader).unwrap();
    let through = through[..through.rfind('\n').unwrap() + 1].lines().count() as u64;
    let written = epochs(&std::fs::read_to_string(&path).unwrap());
    assert_eq!(written.last(), Some(&(pushed - 1)));
    assert_eq!(lost.load(Ordering::Relaxed), pushed - through - written.len() as u64);
}

/// What is to be written somewhere that cannot be opened is lost, and counted.
#[test]
fn lines_without_an_output_are_counted_where_there_is_to_be_one() {
    let (mut ring, drain) = ring();
    let mut state = state(None, drain);
    push(&mut ring, 0..2);
    assert!(state.drain_once());
    assert_eq!(state.lost.load(Ordering::Relaxed), 0, "it is off");
    state.reopen(&Output::File("/nonexistent/access.log".into()));
    push(&mut ring, 2..5);
    assert!(state.drain_once());
    assert_eq!(state.lost.load(Ordering::Relaxed), 3);
    state.reopen(&Output::Off);
    push(&mut ring, 5..6);
    assert!(state.drain_once());
    assert_eq!(state.lost.load(Ordering::Relaxed), 3);
}

/// A named pipe without a reader is no reason to wait; a reader that comes later finds the lines.
#[test]
fn a_named_pipe_needs_no_reader_to_be_opened() {
    let folder = Folder::new("fifo");
    let path = folder.0.join("access.log");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (mut ring, drain) = ring();
    push(&mut ring, 0..3);
    let writer = LogWriter::start(&Output::File(path.clone()), vec![drain]).unwrap();
    let mut reader = io::BufReader::new(File::open(&path).unwrap());
    let mut text = String::new();
    for _ in 0..3 {
        io::BufRead::read_line(&mut reader, &mut text).unwrap();
    }
    assert_eq!(epochs(&text), [0, 1, 2]);
    assert!(writer.finish(PATIENCE));
}
