//! What rings once, for all who wait for one answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Rings once, for all who wait.
pub(super) struct Bell<T> {
    answer: Cell<Option<T>>,
    wakers: RefCell<Vec<Waker>>,
}

impl<T> Default for Bell<T> {
    fn default() -> Self {
        Self { answer: Cell::new(None), wakers: RefCell::default() }
    }
}

impl<T: Copy> Bell<T> {
    pub(super) fn ring(&self, answer: T) {
        self.answer.set(Some(answer));
        self.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// The answer, once it is there.
    pub(super) async fn heard(&self) -> T {
        poll_fn(|poller| match self.answer.get() {
            Some(answer) => Poll::Ready(answer),
            None => {
                self.wakers.borrow_mut().push(poller.waker().clone());
                Poll::Pending
            }
        })
        .await
    }
}
