//! Hand-overs that do not go well: a worker that never starts, is far behind, or ends. And what becomes of those who wait on
//! a socket that is closed.
//!
//! The worker that accepts is a real one on a thread of this process; the test holds the mailbox of the other.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringgate::cluster::Fleet;
use ringgate::config::{self, Sources};
use ringgate::limits;
use ringgate::net::{Driver, Sandbox, probe_io_uring};
use ringgate::snapshot::{Publisher, Registry, compile};
use ringgate::telemetry::{WorkerCounters, ring, span_ring};
use ringgate::worker::{Credit, Loads, Mailbox, Message, Peers, WorkerHandle, WorkerSpec, crew};

const PATIENCE: Duration = Duration::from_secs(20);
const YAML: &str = "version: 1\nadmin: { listen: off }\nlisteners: { web: { address: '127.0.0.1:0' } }\nclusters: {}\n\
    routes: [{ name: all, respond: { status: 200, body: here } }]\n";

#[allow(clippy::disallowed_methods, reason = "the deadline of a wait")]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let due = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < due, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

struct File(Vec<u8>);

impl Sources for File {
    fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn glob(&self, _pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}

/// Two workers, of which the first runs.
struct Pair {
    fleet: Arc<Fleet>,
    driver: Driver,
    publisher: Publisher,
    credit: Arc<Credit>,
    loads: Arc<Loads>,
    counters: Arc<WorkerCounters>,
    address: SocketAddr,
    first: WorkerHandle,
}

impl Pair {
    /// Starts the first worker with the only listening socket; the mailbox is the other one's.
    fn start(driver: Driver) -> (Self, Mailbox) {
        Self::start_after(driver, |_address, _peers| {})
    }

    /// The same once its socket listens, and its mailbox is open, for whoever comes `before`.
    fn start_after(driver: Driver, before: impl FnOnce(SocketAddr, &Peers)) -> (Self, Mailbox) {
        let file = File(YAML.as_bytes().to_vec());
        let config = config::load(Path::new("gateway.yaml"), &file).expect("the configuration is valid").config;
        let mut registry = Registry::new(2);
        let snapshot = compile(&config, 1, &mut registry, &HashMap::new()).expect("it compiles");
        let fleet = Arc::clone(registry.fleet());
        let entrance = snapshot.entrance("web").expect("a listener");
        let publisher = Publisher::new(snapshot, 2);
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let (credit, loads) = (Arc::new(Credit::new(10_000)), Arc::new(Loads::new(2, true)));
        let counters = Arc::new(WorkerCounters::new());
        let mut mailboxes = crew(2).expect("two mailboxes");
        let second = mailboxes.remove(1);
        before(address, &mailboxes[0].peers());
        let spec = WorkerSpec {
            index: 0,
            cpu: None,
            driver,
            sandbox: Some(trial()),
            counters: Arc::clone(&counters),
            log: ring().0,
            spans: span_ring().0,
            snapshots: publisher.reader(0),
            fleet: Arc::clone(&fleet),
            listeners: vec![(entrance, listener)],
            max_connections: Arc::clone(&credit),
            loads: Arc::clone(&loads),
            ask: Arc::new(|_ask| false),
        };
        let first = WorkerHandle::spawn(spec, mailboxes.remove(0)).expect("a worker");
        (Self { driver, fleet, publisher, credit, loads, counters, address, first }, second)
    }

    /// Starts the second worker.
    fn start_second(&self, mailbox: Mailbox, sandbox: Sandbox) -> WorkerHandle {
        let spec = WorkerSpec {
            index: 1,
            cpu: None,
            driver: self.driver,
            sandbox: Some(sandbox),
            counters: Arc::new(WorkerCounters::new()),
            log: ring().0,
            spans: span_ring().0,
            snapshots: self.publisher.reader(1),
            fleet: Arc::clone(&self.fleet),
            listeners: Vec::new(),
            max_connections: Arc::clone(&self.credit),
            loads: Arc::clone(&self.loads),
            ask: Arc::new(|_ask| false),
        };
        WorkerHandle::spawn(spec, mailbox).expect("a worker")
    }

    fn held(&self) -> [usize; 2] {
        [self.loads.held(0), self.loads.held(1)]
    }

    /// Clients that have sent a request each, and have a place each.
    fn clients(&self, count: usize) -> Vec<TcpStream> {
        let before = self.held().iter().sum::<usize>();
        let clients = (1..=count).map(|number| {
            let client = client_of(self.address);
            // One after the other, so that the kernel's queue has room for all.
            until("a place", || self.held().iter().sum::<usize>() == before + number);
            client
        });
        clients.collect()
    }

    /// Ends what runs.
    fn stop(self) {
        assert!(self.first.send(Message::Drain { rest_ms: 0 }));
        self.ends();
    }

    /// Waits for the end of the first worker, which was told to end.
    fn ends(self) {
        until("the end of the first worker", || self.first.is_finished());
        assert_eq!((self.held(), self.credit.taken()), ([0, 0], 0), "everything was given back");
        self.first.join().expect("it was told to end");
    }
}

/// A client that has sent a request.
fn client_of(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("a socket that listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").expect("an open socket");
    client
}

/// A worker that finds these messages and a hundred clients when it starts.
fn crowded(driver: Driver, messages: impl FnOnce(SocketAddr) -> Vec<Message>) -> (Pair, Vec<TcpStream>) {
    let mut clients = Vec::new();
    let (pair, _second) = Pair::start_after(driver, |address, peers| {
        clients.extend((0..100).map(|_| client_of(address)));
        assert!(messages(address).into_iter().all(|message| peers.tell(0, message)));
    });
    (pair, clients)
}

/// Reads an answer; whether there was one.
fn is_answered(mut client: &TcpStream) -> bool {
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"here") {
        match client.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
                return false;
            }
        }
    }
    answer.starts_with(b"HTTP/1.1 200 OK\r\n")
}

/// What workers give up on this machine.
fn trial() -> Sandbox {
    Sandbox::probe().expect("a thread")
}

fn drivers() -> Vec<Driver> {
    // A ring that ends leaves work to the thread that made it.
    let probe = std::thread::Builder::new().spawn(|| probe_io_uring(1).is_ok()).expect("a thread");
    let has_io_uring = probe.join().expect("the probe does not panic");
    [Driver::IoUring, Driver::Epoll].into_iter().filter(|driver| has_io_uring || *driver == Driver::Epoll).collect()
}

#[test]
fn connections_for_a_dead_worker_stay_where_they_were_accepted() {
    for driver in drivers() {
        let (pair, mailbox) = Pair::start(driver);
        drop(mailbox);
        let clients = pair.clients(20);
        assert!(clients.iter().all(is_answered));
        until("all places on the first", || pair.held() == [20, 0]);
        assert_eq!(pair.counters.connections_handed.value(), 0);
        drop(clients);
        pair.stop();
    }
}

#[test]
fn a_full_mailbox_takes_no_more_and_loses_nothing() {
    for driver in drivers() {
        let (pair, mailbox) = Pair::start(driver);
        let clients = pair.clients(2 * limits::MAILBOX_MESSAGES + 100);
        // A place there is tried for and given back, so that the numbers may be one off for a moment.
        let held = [limits::MAILBOX_MESSAGES + 100, limits::MAILBOX_MESSAGES];
        until("as many as the mailbox holds", || pair.held() == held);
        assert_eq!(pair.counters.connections_handed.value(), limits::MAILBOX_MESSAGES as u64);
        // The second worker starts late, and finds them all.
        let second = pair.start_second(mailbox, trial());
        assert!(clients.iter().all(is_answered));
        drop(clients);
        assert!(second.send(Message::Drain { rest_ms: 0 }));
        until("the end of the second worker", || second.is_finished());
        second.join().expect("it was told to end");
        pair.stop();
    }
}

#[test]
fn a_worker_that_ends_gives_back_what_was_on_its_way_to_it() {
    for driver in drivers() {
        let (pair, mailbox) = Pair::start(driver);
        let clients = pair.clients(100);
        let [own, others] = pair.held();
        assert!(own <= 53 && others >= 47, "{own} and {others}");
        until("the last one in the mailbox", || pair.counters.connections_handed.value() == others as u64);
        drop(mailbox);
        assert_eq!(pair.held(), [own, 0]);
        assert_eq!(clients.iter().filter(|client| is_answered(client)).count(), own, "the rest is closed");
        drop(clients);
        pair.stop();
    }
}

/// I3: the order to drain overtakes the connections in the mailbox, and their requests are answered all the same.
#[test]
fn a_draining_worker_answers_what_was_on_its_way_to_it() {
    for driver in drivers() {
        let (pair, mailbox) = Pair::start(driver);
        let clients = pair.clients(20);
        let others = pair.held()[1];
        assert!(others >= 9, "{others} on their way");
        let second = pair.start_second(mailbox, trial());
        assert!(second.send(Message::Drain { rest_ms: 0 }));
        assert!(clients.iter().all(is_answered));
        drop(clients);
        until("the end of the second worker", || second.is_finished());
        second.join().expect("it was told to end");
        until("all places are free", || pair.held() == [0, 0]);
        // From here on nothing goes there any more.
        let more = pair.clients(20);
        assert!(more.iter().all(is_answered));
        assert_eq!(pair.held(), [20, 0]);
        assert_eq!(pair.loads.place(0, 21).worker(), 0, "it is closed, and not merely gone");
        drop(more);
        pair.stop();
    }
}

/// I3: who waits on the socket of a worker that drains is answered, however many they are.
#[test]
fn a_draining_worker_answers_all_who_wait_on_its_socket() {
    for driver in drivers() {
        let (pair, clients) = crowded(driver, |_address| vec![Message::Drain { rest_ms: 0 }]);
        assert!(clients.iter().all(is_answered));
        assert_eq!(pair.counters.connections_accepted.value(), 100);
        pair.ends();
    }
}

/// They are admitted in bursts: what else the worker has to do has its turn between two of them.
#[test]
fn a_socket_that_is_closed_does_not_keep_its_worker_from_all_else() {
    for driver in drivers() {
        let (pair, clients) = crowded(driver, |address| vec![Message::Unlisten { address }, Message::Stop]);
        let counters = Arc::clone(&pair.counters);
        pair.ends();
        let accepted = counters.connections_accepted.value();
        assert!(accepted > 0 && accepted < 100, "{driver:?}: {accepted} before it stopped");
        drop(clients);
    }
}

/// A worker reads nothing of strangers with less given up, or more, than the start tells of.
#[test]
fn a_worker_whose_sandbox_is_not_that_of_the_trial_ends_at_once() {
    for driver in drivers() {
        let (pair, mailbox) = Pair::start(driver);
        let second = pair.start_second(mailbox, Sandbox { calls: Err("as tried".to_owned()), ..trial() });
        until("the end of the second worker", || second.is_finished());
        let why = second.join().expect_err("it could give up its calls");
        assert!(why.starts_with("its sandbox is not that of the trial") && why.contains("as tried"), "{why}");
        pair.stop();
    }
}
