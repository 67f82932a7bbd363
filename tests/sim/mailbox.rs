//! A worker's mailbox: orders of control, calls of the other workers, and the time either takes to be heard.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use ringgate::exchange::Call;
use ringgate::limits;

use crate::world::{Bell, MS, World};

/// What control orders.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Adopt the newest snapshot.
    Nudge,
    Drain {
        /// Milliseconds for which resting connections may still bring a request.
        rest_ms: u64,
    },
}

/// How a worker hears.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hearing {
    /// Calls that fit.
    pub(crate) room: usize,
    /// The longest a message lies there.
    pub(crate) delay_ms: u64,
}

impl Hearing {
    /// At once, and as much as the product has room for.
    pub(crate) const KEEN: Self = Self { room: limits::MAILBOX_MESSAGES, delay_ms: 0 };
}

pub(crate) struct Mailbox {
    world: World,
    hearing: Hearing,
    orders: RefCell<VecDeque<Order>>,
    calls: RefCell<VecDeque<Call>>,
    is_closed: Cell<bool>,
    bell: Bell,
}

impl Mailbox {
    pub(crate) fn new(world: &World, hearing: Hearing) -> Self {
        Self {
            world: world.clone(),
            hearing,
            orders: RefCell::default(),
            calls: RefCell::default(),
            is_closed: Cell::new(false),
            bell: Bell::default(),
        }
    }

    /// There is always room for control.
    pub(crate) fn order(&self, order: Order) {
        self.orders.borrow_mut().push_back(order);
        self.bell.ring();
    }

    /// Leaves a call; false when there is no room or nobody to hear it.
    pub(crate) fn try_call(&self, call: Call) -> bool {
        let mut calls = self.calls.borrow_mut();
        if self.is_closed.get() || calls.len() >= self.hearing.room {
            return false;
        }
        calls.push_back(call);
        self.bell.ring();
        true
    }

    /// Completes a while after something came.
    pub(crate) async fn listen(&self) {
        self.bell.until(|| !self.orders.borrow().is_empty() || !self.calls.borrow().is_empty()).await;
        self.world.sleep_ns(self.world.chance().below_u64(self.hearing.delay_ms * MS + 1)).await;
    }

    pub(crate) fn next_order(&self) -> Option<Order> {
        self.orders.borrow_mut().pop_front()
    }

    pub(crate) fn next_call(&self) -> Option<Call> {
        self.calls.borrow_mut().pop_front()
    }

    /// Nobody listens any more.
    pub(crate) fn close(&self) {
        self.is_closed.set(true);
        drop(self.calls.take());
    }
}
