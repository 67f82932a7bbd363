//! An origin that knows how many connections it has open at once.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::wait::thread;
use super::wire::Wire;

/// The state of a connection neither side of which has closed (`TCP_ESTABLISHED`).
const ESTABLISHED: u8 = 1;

/// A running origin: a thread for each connection.
#[derive(Debug)]
pub(crate) struct Census {
    address: SocketAddr,
    tally: Arc<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    stopped: AtomicBool,
    accepted: AtomicU64,
    peak: AtomicU64,
}

impl Census {
    /// Serves every connection by `serve`, on a thread of its own.
    pub(crate) fn serving(serve: impl Fn(&mut Wire) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("a bound socket");
        let tally = Arc::new(Tally::default());
        let (counts, serve) = (Arc::clone(&tally), Arc::new(serve));
        drop(thread("census", move || {
            let mut open = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if counts.stopped.load(Ordering::Relaxed) {
                    return;
                }
                counts.accepted.fetch_add(1, Ordering::Relaxed);
                open.push(stream.try_clone().expect("a descriptor"));
                // Whoever is open when it is looked at was so when this look began: nobody opens again.
                open.retain(is_open);
                counts.peak.fetch_max(open.len() as u64, Ordering::Relaxed);
                let serve = Arc::clone(&serve);
                drop(thread("census-connection", move || {
                    let mut wire = Wire::new(stream);
                    serve(&mut wire);
                    // Its other descriptor is still with the census.
                    drop(wire.stream().shutdown(std::net::Shutdown::Both));
                }));
            }
        }));
        Self { address, tally }
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections so far.
    pub(crate) fn accepted(&self) -> u64 {
        self.tally.accepted.load(Ordering::Relaxed)
    }

    /// The most connections that neither side had closed at one moment.
    pub(crate) fn peak(&self) -> u64 {
        self.tally.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.tally.stopped.store(true, Ordering::Relaxed);
        // Wakes the accept, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn is_open(stream: &TcpStream) -> bool {
    // The first byte of the kernel's `tcp_info` is the state.
    let mut state = [0_u8; 1];
    let mut length: libc::socklen_t = 1;
    // SAFETY: the option's value is written to `state`, whose length is told, and both outlive the call.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            state.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    got == 0 && state[0] == ESTABLISHED
}
