//! Requests sent when they are due, however long the answers take.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};

use crate::head;
use crate::wake::Wakes;

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long answers are awaited after the last request.
const PATIENCE: Duration = Duration::from_secs(5);
/// The shortest wait before the next request: due ones go out together, so that the load side does not spend its CPU on
/// waking up. The latency of the earlier ones contains the wait.
const SHORTEST_WAIT: Duration = Duration::from_micros(50);
/// The longest wait without looking at the clock.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Latencies beyond this, in nanoseconds, count as this.
const LATENCY_CEILING: u64 = 120_000_000_000;

/// What to send, how often, for how long.
pub struct Plan {
    /// Loopback port to connect to.
    pub port: u16,
    /// Target of every request.
    pub path: String,
    /// Requests per second; 0 sends the next as soon as the last is answered.
    pub rate: f64,
    /// Requests sent at once on a connection, which are due at the same time.
    pub batch: usize,
    /// Connections kept open.
    pub connections: usize,
    /// Where they come from, one after the other; when there are none, from wherever the kernel likes.
    pub sources: Vec<SocketAddr>,
    /// How long requests count.
    pub measured: Duration,
    /// How long they are sent before they count.
    pub warmup: Duration,
}

/// One connection and the answers it waits for, if any.
struct Client {
    stream: TcpStream,
    /// A batch of requests of the user that this client is.
    requests: Vec<u8>,
    due: Option<Instant>,
    unanswered: usize,
    answer: Answer,
}

/// An answer as far as it has arrived.
#[derive(Default)]
struct Answer {
    head: Vec<u8>,
    parsed: Option<head::Head>,
    missing: u64,
}

/// How a request ended.
enum End {
    Answered { close: bool, is_shed: bool },
    Failed(&'static str),
}

/// A running load.
pub struct Load {
    plan: Plan,
    arrived: Vec<u8>,
    wakes: Wakes,
    clients: Vec<Client>,
    free: VecDeque<usize>,
    counts_from: Instant,
    latencies: Histogram<u64>,
    lags: Histogram<u64>,
    failures: BTreeMap<&'static str, u64>,
    /// Answers that said that there was too much to do.
    shed: u64,
    reopened: u64,
}

impl Load {
    /// Opens the connections.
    ///
    /// # Errors
    /// Why one could not be opened.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let wakes = Wakes::new()?;
        let clients: io::Result<Vec<Client>> =
            (0..plan.connections).map(|number| Client::open(&plan, &wakes, number)).collect();
        Ok(Self {
            arrived: vec![0; READ_BYTES],
            wakes,
            clients: clients?,
            free: (0..plan.connections).collect(),
            counts_from: Instant::now() + plan.warmup,
            latencies: empty_histogram(),
            lags: empty_histogram(),
            failures: BTreeMap::new(),
            shed: 0,
            reopened: 0,
            plan,
        })
    }

    /// Sends to the end of the plan, waits for what is still under way and returns the figures as JSON.
    ///
    /// # Errors
    /// Why waiting for sockets or opening a connection again failed.
    pub fn run(mut self) -> io::Result<String> {
        let is_closed = self.plan.rate == 0.0;
        let gap =
            if is_closed { Duration::ZERO } else { Duration::from_secs_f64(self.plan.batch as f64 / self.plan.rate) };
        let last = self.counts_from + self.plan.measured;
        let mut due = Instant::now();
        let mut ready = Vec::new();
        loop {
            let now = Instant::now();
            if is_closed {
                due = now;
            }
            while due <= now
                && due < last
                && let Some(number) = self.free.pop_front()
            {
                self.send(number, due)?;
                due += gap;
            }
            let finished = due >= last && self.free.len() == self.clients.len();
            if finished || now > last + PATIENCE {
                break;
            }
            let sends_next = due < last && !self.free.is_empty();
            let pause = if sends_next {
                due.saturating_duration_since(Instant::now()).max(SHORTEST_WAIT)
            } else {
                LONGEST_WAIT
            };
            self.wakes.wait(pause.min(LONGEST_WAIT), &mut ready)?;
            for number in &ready {
                self.read(*number)?;
            }
        }
        let unanswered = self.clients.len() - self.free.len();
        if unanswered > 0 {
            self.failures.insert("unanswered", unanswered as u64);
        }
        Ok(self.to_json())
    }

    fn send(&mut self, number: usize, due: Instant) -> io::Result<()> {
        if due >= self.counts_from {
            record(&mut self.lags, due);
        }
        let client = &mut self.clients[number];
        client.due = Some(due);
        client.unanswered = self.plan.batch;
        // A request is far smaller than a socket's send buffer: anything but a whole write is a broken connection.
        match client.stream.write(&client.requests) {
            Ok(bytes) if bytes == client.requests.len() => Ok(()),
            _ => self.end(number, End::Failed("send")),
        }
    }

    fn read(&mut self, number: usize) -> io::Result<()> {
        let client = &mut self.clients[number];
        let waiting = client.due.is_some();
        let end = match client.stream.read(&mut self.arrived) {
            Ok(0) if !waiting => return self.reopen(number),
            Ok(0) if client.answer.is_untouched() => End::Failed("closed_before_answer"),
            Ok(0) => End::Failed("cut_short"),
            Ok(_) if !waiting => End::Failed("unasked"),
            Ok(count) => return self.take(number, count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) if !waiting => return self.reopen(number),
            Err(_) => End::Failed("reset"),
        };
        self.end(number, end)
    }

    /// Takes the bytes that arrived for a connection, in which several answers may end.
    fn take(&mut self, number: usize, count: usize) -> io::Result<()> {
        let mut from = 0;
        while from < count {
            let client = &mut self.clients[number];
            if client.due.is_none() {
                return self.end(number, End::Failed("too_long"));
            }
            let (taken, end) = client.answer.take(&self.arrived[from..count]);
            from += taken;
            let Some(end) = end else { return Ok(()) };
            let goes_on = matches!(end, End::Answered { close: false, .. });
            self.end(number, end)?;
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    fn end(&mut self, number: usize, end: End) -> io::Result<()> {
        let client = &mut self.clients[number];
        client.answer = Answer::default();
        client.unanswered = client.unanswered.saturating_sub(1);
        let due = client.due;
        let is_over = client.unanswered == 0 || !matches!(end, End::Answered { close: false, .. });
        match end {
            End::Answered { close, is_shed } => {
                match due.filter(|due| *due >= self.counts_from) {
                    Some(_) if is_shed => self.shed += 1,
                    Some(due) => record(&mut self.latencies, due),
                    None => {}
                }
                if close {
                    self.reopen(number)?;
                }
            }
            // A failure counts even while warming up: nothing excuses it.
            End::Failed(kind) => {
                *self.failures.entry(kind).or_default() += 1;
                self.reopen(number)?;
            }
        }
        if due.is_some() && is_over {
            self.clients[number].due = None;
            self.free.push_back(number);
        }
        Ok(())
    }

    fn reopen(&mut self, number: usize) -> io::Result<()> {
        self.reopened += 1;
        self.clients[number] = Client::open(&self.plan, &self.wakes, number)?;
        Ok(())
    }

    fn to_json(&self) -> String {
        let microseconds = |histogram: &Histogram<u64>, quantile: f64| {
            Duration::from_nanos(histogram.value_at_quantile(quantile)).as_secs_f64() * 1e6
        };
        let failures: Vec<String> = self.failures.iter().map(|(kind, count)| format!("\"{kind}\":{count}")).collect();
        format!(
            "{{\"requests\":{},\"seconds\":{},\"p50_us\":{:.1},\"p99_us\":{:.1},\"p999_us\":{:.1},\"max_us\":{:.1},\
             \"lag_p99_us\":{:.1},\"shed\":{},\"reopened\":{},\"failures\":{{{}}}}}",
            self.latencies.len(),
            self.plan.measured.as_secs_f64(),
            microseconds(&self.latencies, 0.5),
            microseconds(&self.latencies, 0.99),
            microseconds(&self.latencies, 0.999),
            microseconds(&self.latencies, 1.0),
            microseconds(&self.lags, 0.99),
            self.shed,
            self.reopened,
            failures.join(",")
        )
    }
}

impl Client {
    fn open(plan: &Plan, wakes: &Wakes, number: usize) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(source) = plan.sources.get(number) {
            socket.set_reuse_address(true)?;
            socket.bind(&(*source).into())?;
            // Closed by a reset, which leaves the port free for the next run.
            socket.set_linger(Some(Duration::ZERO))?;
        }
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], plan.port)).into())?;
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        wakes.watch(&stream, number)?;
        let request = format!("GET {} HTTP/1.1\r\nHost: bench.test\r\nX-User: user-{number}\r\n\r\n", plan.path);
        let requests = request.repeat(plan.batch).into_bytes();
        Ok(Self { stream, requests, due: None, unanswered: 0, answer: Answer::default() })
    }
}

impl Answer {
    fn is_untouched(&self) -> bool {
        self.head.is_empty() && self.parsed.is_none()
    }

    /// Takes what is its own of `bytes`: how many, and the end if it came.
    fn take(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let Some(parsed) = self.parsed else { return self.take_head(bytes) };
        let count = bytes.len().min(usize::try_from(self.missing).unwrap_or(usize::MAX));
        self.missing -= count as u64;
        if self.missing > 0 {
            return (count, None);
        }
        let end = match parsed.status {
            status @ (200 | 503) => End::Answered { close: parsed.close, is_shed: status == 503 },
            _ => End::Failed("status"),
        };
        (count, Some(end))
    }

    fn take_head(&mut self, bytes: &[u8]) -> (usize, Option<End>) {
        let before = self.head.len();
        // A head that came whole is parsed where it lies.
        if before > 0 {
            self.head.extend_from_slice(bytes);
        }
        match head::response(if before > 0 { &self.head } else { bytes }) {
            Ok(None) => {
                if before == 0 {
                    self.head.extend_from_slice(bytes);
                }
                (bytes.len(), None)
            }
            Ok(Some(parsed)) => {
                self.parsed = Some(parsed);
                self.missing = parsed.body;
                let of_head = parsed.bytes - before;
                let (of_body, end) = self.take(&bytes[of_head..]);
                (of_head + of_body, end)
            }
            Err(_) => (bytes.len(), Some(End::Failed("unreadable"))),
        }
    }
}

fn record(histogram: &mut Histogram<u64>, since: Instant) {
    let nanoseconds = u64::try_from(since.elapsed().as_nanos()).unwrap_or(LATENCY_CEILING);
    histogram.saturating_record(nanoseconds);
}

fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_CEILING, 3).expect("the bounds are constants within what the type allows")
}
