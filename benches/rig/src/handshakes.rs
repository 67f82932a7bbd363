//! A TLS connection for each request, to see what a handshake costs: full, or resumed by a ticket.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::head;

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n";
/// What the certificate must be for.
const NAME: &str = "bench.test";
/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Microseconds that are told apart at most.
const LATENCY_CEILING: u64 = 60_000_000;

/// What is to be done.
pub struct Plan {
    /// Where the proxy listens, on loopback.
    pub port: u16,
    /// The certificate to believe, a file in PEM.
    pub believed: String,
    /// Whether a connection resumes the session of the one before it.
    pub resumes: bool,
    /// Connections at once, each in a thread.
    pub connections: usize,
    /// For how long.
    pub measured: Duration,
}

/// What one thread saw.
struct Seen {
    latency: Histogram<u64>,
    failed: u64,
    other_kind: u64,
}

impl Plan {
    /// Connects, asks and closes, again and again; one line of JSON.
    ///
    /// # Errors
    /// The certificate is not readable.
    pub fn run(&self) -> io::Result<String> {
        let config = self.config().map_err(io::Error::other)?;
        let (began, until) = (Instant::now(), Instant::now() + self.measured);
        let mut total = Seen::new();
        thread::scope(|scope| {
            let start = |_| scope.spawn(|| self.repeat(&config, until));
            let threads: Vec<_> = (0..self.connections).map(start).collect();
            for thread in threads {
                match thread.join() {
                    Ok(seen) => total.add(&seen),
                    Err(_) => total.failed += 1,
                }
            }
        });
        Ok(total.to_json(began.elapsed()))
    }

    fn config(&self) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.believed)?)?;
        // The one key exchange that all contenders have, so that all of them do the same.
        let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions()?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    }

    fn repeat(&self, config: &ClientConfig, until: Instant) -> Seen {
        // Each thread has the tickets of its own connections.
        let mut config = config.clone();
        config.resumption = if self.resumes { Resumption::in_memory_sessions(4) } else { Resumption::disabled() };
        let config = Arc::new(config);
        let (mut seen, mut is_first) = (Seen::new(), true);
        while Instant::now() < until {
            let began = Instant::now();
            match self.once(&config) {
                Ok(resumed) => {
                    let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    seen.latency.saturating_record(micros);
                    // The first one has nothing to resume.
                    seen.other_kind += u64::from(resumed != self.resumes && !is_first);
                    is_first = false;
                }
                Err(_) => seen.failed += 1,
            }
        }
        seen
    }

    /// One connection and its request; whether its session was resumed.
    fn once(&self, config: &Arc<ClientConfig>) -> io::Result<bool> {
        let socket = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port)))?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(REQUEST)?;
        let mut answer = Vec::new();
        // To the end: an end without close_notify is an error, and tickets are on the way.
        stream.read_to_end(&mut answer)?;
        let head = head::response(&answer)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.status != 200 || (answer.len() - head.bytes) as u64 != head.body {
            return Err(io::Error::other("the answer was not 200, or not whole"));
        }
        Ok(stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

impl Seen {
    fn new() -> Self {
        let latency =
            Histogram::new_with_max(LATENCY_CEILING, 3).expect("the bounds are constants within what the type allows");
        Self { latency, failed: 0, other_kind: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.latency += &other.latency;
        self.failed += other.failed;
        self.other_kind += other.other_kind;
    }

    fn to_json(&self, took: Duration) -> String {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        let (p50, p99, p999, max) = (at(0.5), at(0.99), at(0.999), self.latency.max());
        let (requests, seconds) = (self.latency.len(), took.as_secs_f64());
        let Self { failed, other_kind, .. } = self;
        format!(
            "{{\"requests\":{requests},\"seconds\":{seconds:.6},\"p50_us\":{p50},\"p99_us\":{p99},\"p999_us\":{p999},\
             \"max_us\":{max},\"failures\":{{\"failed\":{failed},\"other_kind_of_handshake\":{other_kind}}}}}"
        )
    }
}
