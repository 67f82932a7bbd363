//! An endpoint that answers by itself, for tests with many requests.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::ServerConfig;

use super::layer::Layer;
use super::message::Message;
use super::wait::thread;
use super::wire::Wire;

/// A port of the kernel's choice.
const ANY_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));

/// A running origin: a thread for each connection.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    connections: Arc<AtomicU64>,
    requests: Arc<AtomicU64>,
}

impl Origin {
    /// Answers every request with its own first line.
    pub(crate) fn echo() -> Self {
        Self::answering(|request| {
            let text = &request.start;
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
        })
    }

    /// Answers every request with its body.
    pub(crate) fn mirror() -> Self {
        Self::answering(|request| {
            let mut out = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()).into_bytes();
            out.extend_from_slice(&request.body);
            out
        })
    }

    /// Answers every request with the same words.
    pub(crate) fn saying(content: &str) -> Self {
        Self::saying_at(ANY_PORT, content).expect("loopback")
    }

    /// The same at this address, unless it is taken.
    pub(crate) fn saying_at(address: SocketAddr, content: &str) -> Option<Self> {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()).into_bytes();
        Some(Self::answering_on(TcpListener::bind(address).ok()?, move |_| answer.clone()))
    }

    /// Answers every request with what `answer` makes of it.
    pub(crate) fn answering(answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::answering_on(TcpListener::bind(ANY_PORT).expect("loopback"), answer)
    }

    fn answering_on(listener: TcpListener, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let mut origin = Self::serving_on(listener, move |mut wire| {
            while let Some(request) = next_request(&mut wire) {
                counted.fetch_add(1, Ordering::Relaxed);
                if wire.try_send(answer(&request)).is_err() {
                    return;
                }
            }
        });
        origin.requests = requests;
        origin
    }

    /// Does handshakes by `config`, and answers every request with what `answer` makes of it.
    pub(crate) fn secured(
        config: ServerConfig,
        answer: impl Fn(&Wire, &Message) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let config = Arc::new(config);
        let requests = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&requests);
        let mut origin = Self::serving(move |wire| {
            let Ok(mut wire) = wire.secured(Layer::server(&config)) else { return };
            while let Some(request) = next_request(&mut wire) {
                counted.fetch_add(1, Ordering::Relaxed);
                let answer = answer(&wire, &request);
                if wire.try_send(answer).is_err() {
                    return;
                }
            }
        });
        origin.requests = requests;
        origin
    }

    /// Serves every connection by `serve`, on a thread of its own.
    pub(crate) fn serving(serve: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        Self::serving_on(TcpListener::bind(ANY_PORT).expect("loopback"), serve)
    }

    fn serving_on(listener: TcpListener, serve: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().expect("a bound socket");
        let (stopped, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (ends, counts, serve) = (Arc::clone(&stopped), Arc::clone(&connections), Arc::new(serve));
        drop(thread("origin", move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if ends.load(Ordering::Relaxed) {
                    return;
                }
                counts.fetch_add(1, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                drop(thread("origin-connection", move || serve(Wire::new(stream))));
            }
        }));
        Self { address, stopped, connections, requests: Arc::default() }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept, which then sees that it is over.
        drop(std::net::TcpStream::connect(self.address));
    }
}

/// The next request of a connection, or nothing when the gateway closed it.
fn next_request(wire: &mut Wire) -> Option<Message> {
    if !wire.has_bytes() {
        return None;
    }
    let mut request = wire.reads_head();
    wire.reads_body(&mut request);
    Some(request)
}
