//! Seats of the admin server's connections: so many, and one more takes that of whoever sent and took nothing for longest,
//! and waits for no answer if there is such a one.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::Context;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::task::AtomicWaker;

use crate::clock;
use crate::limits::ADMIN_CONNECTIONS;

/// Nanoseconds between two lines of the log about the same.
const QUIET_NS: u64 = 10_000_000_000;

/// Connections of the admin server that were ended, since the start.
#[derive(Debug, Default)]
pub(in crate::control) struct Turned {
    too_many: AtomicU64,
    took_nothing: AtomicU64,
}

impl Turned {
    /// How many, by why.
    pub(in crate::control) fn counts(&self) -> [(&'static str, u64); 2] {
        [
            ("too_many", self.too_many.load(Ordering::Relaxed)),
            ("took_nothing", self.took_nothing.load(Ordering::Relaxed)),
        ]
    }
}

/// All seats of one server.
pub(super) struct Seats {
    taken: Vec<Weak<Place>>,
    shared: Arc<Shared>,
    /// When the log was last told that somebody lost theirs, by the monotonic clock.
    told_ns: Option<u64>,
}

#[derive(Default)]
struct Shared {
    turned: Arc<Turned>,
    /// What was sent or taken by anybody, so that one can tell who did last.
    turn: AtomicU64,
}

impl Shared {
    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// The seat of one connection, free again when it is dropped.
pub(super) struct Seat(Arc<Place>);

struct Place {
    shared: Arc<Shared>,
    /// When its peer last sent or took something, or came, as a turn.
    moved: AtomicU64,
    /// Requests that are not answered yet.
    under_way: AtomicUsize,
    is_lost: AtomicBool,
    waker: AtomicWaker,
}

impl Seats {
    /// All of them free; what becomes of connections is counted in `turned`.
    pub(super) fn new(turned: Arc<Turned>) -> Self {
        Self { taken: Vec::new(), shared: Arc::new(Shared { turned, turn: AtomicU64::new(0) }), told_ns: None }
    }

    /// A seat for one more connection; without a free one somebody loses theirs.
    pub(super) fn take(&mut self) -> Seat {
        self.taken.retain(|place| place.strong_count() > 0);
        let kept: Vec<Arc<Place>> = self.taken.iter().filter_map(Weak::upgrade).filter(|one| !one.is_lost()).collect();
        if kept.len() >= ADMIN_CONNECTIONS
            && let Some(last) = kept.iter().min_by_key(|place| place.worth())
        {
            last.is_lost.store(true, Ordering::Relaxed);
            last.waker.wake();
            self.on_lost();
        }
        let shared = Arc::clone(&self.shared);
        let place = Arc::new(Place {
            moved: AtomicU64::new(shared.next_turn()),
            shared,
            under_way: AtomicUsize::new(0),
            is_lost: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        self.taken.push(Arc::downgrade(&place));
        Seat(place)
    }

    fn on_lost(&mut self) {
        let ended = self.shared.turned.too_many.fetch_add(1, Ordering::Relaxed) + 1;
        let now_ns = clock::now_ns();
        if self.told_ns.is_none_or(|told_ns| now_ns >= told_ns + QUIET_NS) {
            self.told_ns = Some(now_ns);
            let most = ADMIN_CONNECTIONS;
            tracing::warn!(
                most,
                ended,
                "too many connections to the admin endpoint, the ones that sent and took nothing for longest end"
            );
        }
    }
}

impl Place {
    fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// The seat that is worth least is lost first: an order is not given up for somebody who only comes.
    fn worth(&self) -> (bool, u64) {
        (self.under_way.load(Ordering::Relaxed) > 0, self.moved.load(Ordering::Relaxed))
    }

    fn on_moved(&self) {
        self.moved.store(self.shared.next_turn(), Ordering::Relaxed);
    }
}

impl Seat {
    /// Whether the connection may go on; whoever waits is woken when it may not any more.
    ///
    /// # Errors
    /// Somebody else has its seat.
    pub(super) fn is_kept(&self, cx: &Context<'_>) -> io::Result<()> {
        self.0.waker.register(cx.waker());
        if self.0.is_lost() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Its peer sent or took something.
    pub(super) fn on_moved(&self) {
        self.0.on_moved();
    }

    /// For the requests of the connection.
    pub(super) fn sitter(&self) -> Sitter {
        Sitter(Arc::downgrade(&self.0))
    }

    /// Its peer took nothing for too long.
    pub(super) fn on_given_up(&self) {
        self.0.shared.turned.took_nothing.fetch_add(1, Ordering::Relaxed);
    }
}

/// Who has a seat, as its requests know it.
#[derive(Clone)]
pub(super) struct Sitter(Weak<Place>);

impl Sitter {
    /// A request was admitted, and is under way until what comes back is dropped.
    fn on_request(&self) -> Option<UnderWay> {
        let place = self.0.upgrade()?;
        place.under_way.fetch_add(1, Ordering::Relaxed);
        Some(UnderWay(place))
    }
}

struct UnderWay(Arc<Place>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        // Its answer is about to be taken.
        self.0.on_moved();
    }
}

/// Has a request count for the seat of its connection until it is answered.
pub(super) async fn seated(request: Request, next: Next) -> Response {
    let sitter = request.extensions().get::<ConnectInfo<Sitter>>();
    let _under_way = sitter.and_then(|ConnectInfo(sitter)| sitter.on_request());
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(seats: &[Seat]) -> Vec<usize> {
        (0..seats.len()).filter(|index| seats[*index].0.is_lost()).collect()
    }

    #[tokio::test]
    async fn one_too_many_takes_the_seat_of_whoever_did_nothing_for_longest() {
        let turned = Arc::new(Turned::default());
        let mut seats = Seats::new(Arc::clone(&turned));
        let mut all: Vec<Seat> = (0..ADMIN_CONNECTIONS).map(|_| seats.take()).collect();
        for index in [0, 1, 3] {
            all[index].on_moved();
        }
        all.push(seats.take());
        assert_eq!(lost(&all), [2]);
        all.push(seats.take());
        assert_eq!(lost(&all), [2, 4], "who lost a seat loses it once");
        all.remove(5);
        all.push(seats.take());
        assert_eq!(lost(&all).len(), 2, "one was free");
        assert_eq!(turned.counts(), [("too_many", 2), ("took_nothing", 0)]);
        assert!(seats.taken.len() <= ADMIN_CONNECTIONS + 2, "the gone are forgotten");
    }
    #[tokio::test]
    async fn who_waits_for_an_answer_loses_its_seat_last() {
        let mut seats = Seats::new(Arc::default());
        let mut all: Vec<Seat> = (0..ADMIN_CONNECTIONS).map(|_| seats.take()).collect();
        let mut under_way: Vec<_> = all.iter().take(2).map(|seat| seat.sitter().on_request()).collect();
        all.push(seats.take());
        assert_eq!(lost(&all), [2]);
        under_way.remove(0);
        all.push(seats.take());
        assert_eq!(lost(&all), [2, 3], "its answer is about to be taken");
        under_way.extend(all.iter().map(|seat| seat.sitter().on_request()));
        all.push(seats.take());
        assert_eq!(lost(&all), [1, 2, 3], "all of them wait");
        let gone = all.remove(0).sitter();
        drop(under_way);
        assert!(gone.on_request().is_none(), "a request keeps no seat for a connection that is gone");
    }
}
