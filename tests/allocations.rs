//! What a warm request costs in memory: nothing.
//!
//! A counting allocator watches the one worker of this process; the threads of the test itself are exempt.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringgate::config::{self, Sources};
use ringgate::net::{Driver, Sandbox, probe_io_uring};
use ringgate::snapshot::{Publisher, Registry, compile};
use ringgate::telemetry::{WorkerCounters, ring, span_ring};
use ringgate::worker::{Call, Credit, Loads, Message, Peers, Question, WorkerHandle, WorkerSpec, crew};

#[allow(clippy::disallowed_methods, reason = "the deadline of a wait")]
fn now() -> Instant {
    Instant::now()
}

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

// SAFETY: every call is passed on to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !EXEMPT.with(Cell::get) {
            ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's obligations are those of the system allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Files(HashMap<PathBuf, Vec<u8>>);

impl Sources for Files {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn env(&self, _name: &str) -> Option<String> {
        None
    }

    fn glob(&self, _pattern: &str) -> Result<Vec<PathBuf>, String> {
        Ok(Vec::new())
    }
}

/// Answers every request on every connection: `/chunked` in chunks, `/large` with 10 kB, others with 13 bytes.
fn origin(listener: &TcpListener) {
    EXEMPT.with(|exempt| exempt.set(true));
    for stream in listener.incoming().map_while(Result::ok) {
        std::thread::Builder::new().spawn(move || answer_all(stream)).expect("a thread");
    }
}

fn answer_all(mut stream: TcpStream) {
    EXEMPT.with(|exempt| exempt.set(true));
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count) = stream.read(&mut buffer) {
        if count == 0 {
            return;
        }
        received.extend_from_slice(&buffer[..count]);
        while let Some(end) = whole_request(&received) {
            let answer: Vec<u8> = if received.starts_with(b"GET /chunked") {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n".to_vec()
            } else if received.starts_with(b"GET /large") {
                let mut answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10240\r\n\r\n".to_vec();
                answer.resize(answer.len() + 10240, b'x');
                answer
            } else {
                b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!".to_vec()
            };
            received.drain(..end);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
}

fn whole_request(received: &[u8]) -> Option<usize> {
    let head = received.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&received[..head]).to_lowercase();
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
    let end = head + length.unwrap_or(0);
    (received.len() >= end).then_some(end)
}

/// A worker in this process on a port of its own.
struct Gateway {
    worker: WorkerHandle,
    address: SocketAddr,
    counters: Arc<WorkerCounters>,
    _publisher: Publisher,
}

fn gateway(driver: Driver) -> Gateway {
    EXEMPT.with(|exempt| exempt.set(true));
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let endpoint = upstream.local_addr().expect("a bound address");
    std::thread::Builder::new().spawn(move || origin(&upstream)).expect("a thread");
    let yaml = format!(
        "version: 1\nadmin: {{ listen: off }}\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         clusters: {{ app: {{ endpoints: [{{ url: \"http://{endpoint}\" }}] }},\n\
         guarded: {{ balance: least_saturated, max_connections: 8, queue: {{ max: 8, timeout: 1s }}, slow_start: 1s, breaker: {{}},\n\
         health: {{ passive: {{}} }}, endpoints: [{{ url: \"http://{endpoint}\" }}] }},\n\
         hashed: {{ balance: consistent_hash, hash_key: path, endpoints: [{{ url: \"http://{endpoint}\" }}] }},\n\
         fast: {{ balance: p2c, endpoints: [{{ url: \"http://{endpoint}\" }}] }} }}\n\
         routes: [{{ name: all, match: {{ path: /* }}, cluster: app }},\n\
         {{ name: api, match: {{ path: /api/* }}, cluster: app, rewrite: {{ prefix: /v2 }} }},\n\
         {{ name: guarded, match: {{ path: /guarded/* }}, cluster: guarded, policies: [leased, exact] }},\n\
         {{ name: token, match: {{ path: /token }}, cluster: app, policies: [token, key] }},\n\
         {{ name: password, match: {{ path: /password }}, cluster: app, policies: [password] }},\n\
         {{ name: split, match: {{ path: /split/* }}, split: [{{ cluster: hashed, weight: 1 }}, {{ cluster: fast, weight: 2 }}] }}]\n\
         policies: {{ token: {{ jwt: {{ audience: a, secret_file: secret, forward_claims: {{ sub: x-user }} }} }},\n\
         key: {{ api_key: {{ keys_file: keys, forward_identity: x-holder }} }},\n\
         password: {{ basic_auth: {{ users_file: users, forward_user: x-staff }} }},\n\
         leased: {{ rate_limit: {{ limit: 1000000/1h }} }}, exact: {{ rate_limit: {{ limit: 100/1ms, key: [header.x-tenant, client_ip] }} }} }}\n\
         observability: {{ tracing: {{ otlp: \"http://127.0.0.1:4318\", sample: 50% }} }}\n"
    );
    let path = PathBuf::from("gateway.yaml");
    let files = Files(HashMap::from([
        (path.clone(), yaml.into_bytes()),
        (PathBuf::from("secret"), SECRET.to_vec()),
        // FIPS 180-2 appendix B.1: the SHA-256 of `abc`.
        (PathBuf::from("keys"), b"acme: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".to_vec()),
        (PathBuf::from("users"), [b"alice:", BCRYPT].concat()),
    ]));
    let config = config::load(&path, &files).expect("the configuration is valid").config;
    let resolved = HashMap::from([((endpoint.ip().to_string(), endpoint.port()), vec![endpoint])]);
    let mut registry = Registry::new(1);
    let snapshot = compile(&config, 1, &mut registry, &resolved).expect("it compiles");
    registry.on_publishing(&snapshot, &config, 0);
    registry.on_published(1);
    let entrance = snapshot.entrance("web").expect("a listener");
    let publisher = Publisher::new(snapshot, 1);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port on loopback");
    let address = listener.local_addr().expect("a bound address");
    let counters = Arc::new(WorkerCounters::new());
    let (log, mut drain) = ring();
    let (spans, mut span_drain) = span_ring();
    std::thread::Builder::new()
        .spawn(move || {
            EXEMPT.with(|exempt| exempt.set(true));
            while !drain.is_abandoned() {
                while drain.try_pop().is_some() {}
                while span_drain.try_pop().is_some() {}
                std::thread::yield_now();
            }
        })
        .expect("a thread");
    let mailbox = crew(1).expect("a mailbox").remove(0);
    let peers = mailbox.peers();
    let spec = WorkerSpec {
        index: 0,
        cpu: None,
        driver,
        sandbox: Some(Sandbox::probe().expect("a thread")),
        counters: Arc::clone(&counters),
        log,
        spans,
        snapshots: publisher.reader(0),
        fleet: Arc::clone(registry.fleet()),
        listeners: vec![(entrance, listener)],
        max_connections: Arc::new(Credit::new(100)),
        loads: Arc::new(Loads::new(1, true)),
        ask: Arc::new(move |question| tries(&peers, question)),
    };
    Gateway { worker: WorkerHandle::spawn(spec, mailbox).expect("a worker"), address, counters, _publisher: publisher }
}

/// The secret of the tokens.
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
/// What `crypt_blowfish` makes of `U*U`.
const BCRYPT: &[u8] = b"$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

/// Tries a password at once, which nobody but a test may do here.
fn tries(peers: &Peers, question: Question) -> bool {
    let Question::Password(ask) = question else { return false };
    let found = ask.book.find(&ask.login);
    peers.tell(0, Message::Call(Call::Tried { ticket: ask.ticket, found }))
}

/// A request with a token that holds until the year 2286, and an API key.
fn with_token() -> Vec<u8> {
    let encode = |text: &[u8]| data_encoding::BASE64URL_NOPAD.encode(text);
    let payload = br#"{"aud":"a","sub":"alice","exp":9999999999}"#;
    let message = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(payload));
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SECRET);
    let signature = encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()).as_ref());
    let fields = format!("Authorization: Bearer {message}.{signature}\r\nX-Api-Key: abc\r\n");
    format!("GET /token HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

fn exchange(client: &mut TcpStream, request: &[u8], ending: &[u8]) {
    client.write_all(request).expect("the gateway takes the request");
    let mut answer = Vec::new();
    let mut buffer = [0; 16384];
    while !answer.ends_with(ending) {
        let count = client.read(&mut buffer).expect("the gateway answers in time");
        assert!(count > 0, "closed after {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..count]);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"), "{}", String::from_utf8_lossy(&answer));
}

fn allocations_when_warm(driver: Driver) {
    let gateway = gateway(driver);
    let mut client = TcpStream::connect(gateway.address).expect("the gateway listens");
    client.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let token = with_token();
    let requests: [(&[u8], &[u8]); 10] = [
        (&token, b"Hello, world!"),
        (b"GET /password HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YWxpY2U6VSpV\r\n\r\n", b"Hello, world!"),
        (b"GET /guarded/a HTTP/1.1\r\nHost: a\r\n\r\n", b"Hello, world!"),
        (b"GET /split/a HTTP/1.1\r\nHost: a\r\n\r\n", b"Hello, world!"),
        (b"PUT /guarded/b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"Hello, world!"),
        (b"GET /api/../api/orders HTTP/1.1\r\nHost: a\r\n\r\n", b"Hello, world!"),
        (b"GET /small?a=1 HTTP/1.1\r\nHost: Example.COM\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n", b"Hello, world!"),
        (b"POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"Hello, world!"),
        (b"GET /large HTTP/1.1\r\nHost: a\r\nX-Request-ID: mine\r\n\r\n", b"xxxxxxxxxxxxxxxx"),
        (b"GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n", b"0\r\n\r\n"),
    ];
    // The large answer may come in several reads that end in x; its length is checked by what follows it.
    let mut round = |times: usize| {
        for _ in 0..times {
            for (request, ending) in requests {
                if ending.starts_with(b"xx") {
                    large(&mut client, request);
                } else {
                    exchange(&mut client, request, ending);
                }
            }
        }
    };
    round(50);
    // Requests that the machine interrupts for so long that the client is watched, or parked, do more than warm ones.
    let patience = Duration::from_millis(ringgate::limits::CLIENT_WATCH_MS);
    let (mut rounds, mut warm, mut allocated, mut is_warm) = (0, 0, 0, true);
    let began = now();
    // Long enough for the worker to trim twice what it holds in spare: what is in use must not be part of it.
    while warm < 250 || now() < began + Duration::from_millis(2 * ringgate::limits::TRIM_MS + 100) {
        assert!(rounds < 100_000, "only {warm} of so many rounds were not interrupted");
        let (before, started) = (ALLOCATIONS.load(Ordering::Relaxed), now());
        round(1);
        rounds += 1;
        let was_warm = std::mem::replace(&mut is_warm, now() < started + patience);
        if was_warm && is_warm {
            warm += 1;
            allocated += ALLOCATIONS.load(Ordering::Relaxed) - before;
        }
    }
    assert_eq!(allocated, 0, "allocations in {} requests", 10 * warm);
    let requests = 10 * (50 + rounds);
    // The last exchange is settled after its response has gone out.
    let counted = || [0, 2, 3].map(|method| gateway.counters.requests(method, 200)).iter().sum::<u64>();
    let deadline = now() + Duration::from_secs(10);
    while counted() < requests && now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(counted(), requests);
    drop(client);
    assert!(gateway.worker.send(Message::Drain { rest_ms: 0 }));
    gateway.worker.join().expect("it was told to end");
}

fn large(client: &mut TcpStream, request: &[u8]) {
    client.write_all(request).expect("the gateway takes the request");
    let mut answer = Vec::new();
    let mut buffer = [0; 16384];
    let whole = |answer: &[u8]| {
        answer.windows(4).position(|window| window == b"\r\n\r\n").is_some_and(|head| answer.len() == head + 4 + 10240)
    };
    while !whole(&answer) {
        let count = client.read(&mut buffer).expect("the gateway answers in time");
        assert!(count > 0, "closed early");
        answer.extend_from_slice(&buffer[..count]);
    }
}

#[test]
fn a_warm_request_allocates_nothing() {
    // A ring that ends leaves work to the thread that made it, which would interrupt the reads of this one.
    let probe = std::thread::Builder::new().spawn(|| {
        EXEMPT.with(|exempt| exempt.set(true));
        probe_io_uring(1).is_ok()
    });
    if probe.expect("a thread").join().expect("the probe does not panic") {
        allocations_when_warm(Driver::IoUring);
    }
    allocations_when_warm(Driver::Epoll);
}
