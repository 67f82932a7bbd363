//! An endpoint of HTTP/2 that answers by itself, for tests with many requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use h2::Reason;

use super::h2_endpoint::{H2Asked, H2Endpoint};
use super::wait::thread;

/// A running origin that answers with its name.
#[derive(Debug)]
pub(crate) struct H2Origin {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    name: String,
    status: AtomicU16,
    served: AtomicU64,
}

impl H2Origin {
    /// One that is well.
    pub(crate) fn start(name: &str) -> Self {
        let state = Arc::new(State { name: name.to_owned(), status: AtomicU16::new(200), served: AtomicU64::new(0) });
        let (endpoint, there) = (H2Endpoint::listens(), Arc::clone(&state));
        let address = endpoint.address();
        drop(thread("h2-origin", move || {
            while let Some(accepted) = endpoint.try_accepts() {
                let state = Arc::clone(&there);
                drop(thread("h2-origin-connection", move || {
                    while let Some(asked) = accepted.try_expects_any() {
                        state.answers(asked);
                    }
                }));
            }
        }));
        Self { address, state }
    }

    /// Its entry in a list of endpoints.
    pub(crate) fn entry(&self) -> String {
        format!("{{ url: 'h2c://{}' }}", self.address)
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with this status from now on; at 0 it resets the stream.
    pub(crate) fn tells(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    /// Requests that it had.
    pub(crate) fn served(&self) -> u64 {
        self.state.served.load(Ordering::Relaxed)
    }
}

impl State {
    fn answers(&self, mut asked: H2Asked) {
        while matches!(asked.try_reads(), Ok(Some(_))) {}
        self.served.fetch_add(1, Ordering::Relaxed);
        match self.status.load(Ordering::Relaxed) {
            0 => asked.resets(Reason::INTERNAL_ERROR),
            status => asked.replies(status, &[], &self.name),
        }
    }
}
