//! Where streams are served: the state of an exchange is large, and streams come and go too fast to allocate it each time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Poller, Poll};

use super::shard::Shard;
use super::spares::Spares;
use super::streams::{Arrived, serve_stream};
use crate::net::Env;

/// A place for the future that serves one stream, used again for the next.
pub(super) struct Berth<A>(Box<dyn Place<A>>);

/// Berths that are free.
pub(super) type Berths<E> = Spares<Berth<Arrived<E>>>;

trait Place<A> {
    fn begin(&mut self, arrived: A);
    fn poll(&mut self, poller: &mut Poller<'_>) -> Poll<()>;
    fn clear(&mut self);
}

struct Room<S, F> {
    serve: S,
    running: Pin<Box<Option<F>>>,
}

impl<A, S: Fn(A) -> F, F: Future<Output = ()>> Place<A> for Room<S, F> {
    fn begin(&mut self, arrived: A) {
        self.running.set(Some((self.serve)(arrived)));
    }

    fn poll(&mut self, poller: &mut Poller<'_>) -> Poll<()> {
        self.running.as_mut().as_pin_mut().map_or(Poll::Ready(()), |running| running.poll(poller))
    }

    fn clear(&mut self) {
        self.running.set(None);
    }
}

/// One stream that is served; its berth is free again when this is dropped, however far it has come.
pub(super) struct Serving<E: Env> {
    shard: Rc<Shard<E>>,
    berth: Option<Berth<Arrived<E>>>,
}

impl<E: Env> Serving<E> {
    /// Serves what has arrived, once it is polled.
    pub(super) fn begin(shard: &Rc<Shard<E>>, arrived: Arrived<E>) -> Self {
        let new = || Berth(Box::new(Room { serve: serve_stream::<E>, running: Box::pin(None) }));
        let mut berth = shard.berths.try_lend().unwrap_or_else(new);
        berth.0.begin(arrived);
        Self { shard: Rc::clone(shard), berth: Some(berth) }
    }
}

impl<E: Env> Future for Serving<E> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, poller: &mut Poller<'_>) -> Poll<()> {
        if self.shard.is_stopped() {
            return Poll::Ready(());
        }
        self.berth.as_mut().map_or(Poll::Ready(()), |berth| berth.0.poll(poller))
    }
}

impl<E: Env> Drop for Serving<E> {
    fn drop(&mut self) {
        if let Some(mut berth) = self.berth.take() {
            berth.0.clear();
            self.shard.berths.give_back(berth);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Waker;

    use super::*;

    /// Waits until told to go on; `None` is a bug.
    async fn serve(arrived: (Option<u32>, Rc<Cell<u32>>)) {
        let (number, served) = arrived;
        let mut has_waited = false;
        std::future::poll_fn(
            |_| if std::mem::replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
        served.set(number.expect("a number"));
    }

    #[test]
    fn a_place_serves_one_after_the_other_also_behind_one_that_was_given_up_or_hit_a_bug() {
        let mut poller = Poller::from_waker(Waker::noop());
        let mut room = Room { serve, running: Box::pin(None) };
        let served = Rc::new(Cell::new(0));
        room.begin((Some(1), Rc::clone(&served)));
        assert!(room.poll(&mut poller).is_pending() && room.poll(&mut poller).is_ready());
        room.begin((Some(2), Rc::clone(&served)));
        assert!(room.poll(&mut poller).is_pending());
        room.clear();
        assert_eq!((served.get(), Rc::strong_count(&served)), (1, 1), "what was given up is gone with all it held");
        room.begin((None, Rc::clone(&served)));
        assert!(room.poll(&mut poller).is_pending());
        catch_unwind(AssertUnwindSafe(|| room.poll(&mut poller))).expect_err("a bug");
        room.clear();
        room.begin((Some(3), Rc::clone(&served)));
        assert!(room.poll(&mut poller).is_pending() && room.poll(&mut poller).is_ready());
        assert_eq!(served.get(), 3);
    }
}
