use super::*;

/// Joins the queue and takes the head of `worker`, who has no other waiter.
fn join_at_front(state: &ClusterState, worker: usize) -> Ticket {
    let ticket = state.try_join(usize::MAX).unwrap();
    state.set_head(worker, Some(ticket));
    ticket
}

/// The only waiter of `worker` has its turn.
fn serve(state: &ClusterState, worker: usize) -> (bool, Option<usize>) {
    let is_served = state.try_take_turn(worker);
    if !is_served {
        return (false, None);
    }
    state.set_head(worker, None);
    (true, state.on_served())
}

/// The only waiter of `worker` gives up.
fn leave(state: &ClusterState, worker: usize) -> Option<usize> {
    state.set_head(worker, None);
    state.on_left()
}

#[test]
fn as_many_as_the_limit_are_taken_and_a_released_one_again() {
    let state = ClusterState::new(1, 2);
    assert!(state.try_take() && state.try_take() && !state.try_take());
    assert_eq!((state.taken(), state.limit()), (2, 2));
    assert_eq!(state.on_released(), None);
    assert!(state.try_take() && !state.try_take());
}

#[test]
fn without_a_limit_all_are_taken_and_counted_for_a_later_one() {
    let state = ClusterState::new(1, 0);
    assert!((0..5).all(|_| state.try_take()));
    assert_eq!(state.set_limit(5), None);
    assert!(!state.try_take());
    assert_eq!(state.on_released(), None);
    assert!(state.try_take());
}

#[test]
fn a_lower_limit_takes_nothing_back_and_names_nobody_until_it_is_reached() {
    let state = ClusterState::new(1, 3);
    assert!((0..3).all(|_| state.try_take()));
    assert_eq!(state.set_limit(2), None);
    join_at_front(&state, 0);
    assert_eq!(state.on_released(), None, "two of two are out");
    assert!(!state.try_take_turn(0));
    assert_eq!(state.on_released(), Some(0));
    assert!(state.try_take_turn(0));
}

#[test]
fn nobody_overtakes_a_waiter() {
    let state = ClusterState::new(2, 1);
    assert!(state.try_take());
    let early = join_at_front(&state, 1);
    let late = join_at_front(&state, 0);
    assert!(early < late);
    assert_eq!(state.on_released(), Some(1));
    assert!(!state.try_take(), "the credit is free, and it is another's turn");
    assert!(!state.is_first(0) && !state.try_take_turn(0));
    assert!(state.is_first(1));
    assert_eq!(serve(&state, 1), (true, None), "the credit went with it");
    assert_eq!(state.on_released(), Some(0));
}

#[test]
fn a_waiter_that_gives_up_passes_its_wake_on() {
    let state = ClusterState::new(3, 1);
    assert!(state.try_take());
    join_at_front(&state, 2);
    join_at_front(&state, 0);
    assert_eq!(state.on_released(), Some(2));
    assert_eq!(leave(&state, 2), Some(0));
    assert_eq!(serve(&state, 0), (true, None));
    assert_eq!((state.waiting(), state.taken()), (0, 1));
}

#[test]
fn two_credits_freed_before_the_first_waiter_wakes_serve_two() {
    let state = ClusterState::new(2, 2);
    assert!(state.try_take() && state.try_take());
    join_at_front(&state, 0);
    join_at_front(&state, 1);
    assert_eq!([state.on_released(), state.on_released()], [Some(0), Some(0)]);
    assert_eq!(serve(&state, 0), (true, Some(1)));
    assert_eq!(serve(&state, 1), (true, None));
}

#[test]
fn a_raised_limit_names_the_first_waiter_and_each_served_one_the_next() {
    for raised in [3, 0] {
        let state = ClusterState::new(3, 1);
        assert!(state.try_take());
        for worker in [1, 0, 2] {
            join_at_front(&state, worker);
        }
        assert_eq!(state.set_limit(raised), Some(1));
        let is_unlimited = raised == 0;
        assert_eq!(serve(&state, 1), (true, Some(0)));
        assert_eq!(serve(&state, 0), (true, is_unlimited.then_some(2)));
        assert_eq!(serve(&state, 2), (is_unlimited, None));
    }
}

#[test]
fn the_queue_is_bounded_over_all_workers() {
    let state = ClusterState::new(2, 1);
    assert_eq!(state.try_join(0), None);
    join_at_front(&state, 0);
    join_at_front(&state, 1);
    assert_eq!(state.try_join(2), None);
    assert_eq!(state.waiting(), 2);
    assert_eq!(leave(&state, 0), Some(1), "the credit of this cluster was never taken");
    assert!(state.try_join(2).is_some());
}

#[test]
fn a_worker_without_waiters_takes_no_turn() {
    let state = ClusterState::new(2, 1);
    assert!(!state.is_first(0) && !state.try_take_turn(0));
    assert_eq!(state.taken(), 0);
}

#[test]
fn idle_connections_are_looked_for_where_most_are() {
    let state = ClusterState::new(3, 1);
    assert_eq!(state.idle_elsewhere(0), None);
    state.set_idle(0, 9);
    assert_eq!(state.idle_elsewhere(0), None, "its own are not elsewhere");
    state.set_idle(1, 2);
    state.set_idle(2, 3);
    assert_eq!([0, 1, 2].map(|worker| state.idle_elsewhere(worker)), [Some(2), Some(0), Some(0)]);
    state.set_idle(2, 0);
    assert_eq!(state.idle_elsewhere(0), Some(1));
}

#[test]
fn there_is_room_for_as_many_as_are_neither_in_use_nor_waited_for() {
    let state = ClusterState::new(3, 2);
    assert!(state.has_room() && state.try_take() && state.has_room() && state.try_take());
    assert_eq!((state.has_room(), state.in_use()), (false, 2));
    state.set_idle(1, 1);
    assert_eq!((state.has_room(), state.in_use()), (true, 1), "the idle one can be closed");
    join_at_front(&state, 0);
    assert!(!state.has_room(), "the waiter has it");
    state.set_idle(1, 2);
    assert_eq!((state.has_room(), state.in_use()), (true, 0));
    let unlimited = ClusterState::new(1, 0);
    assert!((0..9).all(|_| unlimited.try_take()) && unlimited.has_room());
}

#[test]
fn more_than_a_lower_limit_are_over_it_until_they_close() {
    let state = ClusterState::new(1, 0);
    assert!((0..3).all(|_| state.try_take()) && !state.is_over());
    assert_eq!(state.set_limit(2), None);
    assert!(state.is_over() && !state.has_room());
    assert_eq!(state.on_released(), None);
    assert!(!state.is_over());
}

#[test]
fn slow_tiers_and_the_gate_of_ejections_begin_empty_and_are_kept() {
    let state = ClusterState::new(1, 0);
    assert_eq!(state.slow_tiers(), 0);
    state.set_slow_tiers(0b101);
    assert_eq!(state.slow_tiers(), 0b101);
    assert!(!state.ejecting().swap(true, Ordering::Relaxed));
    assert!(state.ejecting().load(Ordering::Relaxed));
}

#[test]
fn what_different_workers_write_stands_on_different_lines() {
    let state = ClusterState::new(2, 1);
    let at = |said: &Said| core::ptr::from_ref(said).addr();
    assert!(at(&state.workers[1]) - at(&state.workers[0]) >= 64);
    let shared = [core::ptr::from_ref(&*state.counts).addr(), core::ptr::from_ref(&*state.tickets).addr()];
    let seldom = core::ptr::from_ref(&state.limit).addr();
    assert!(shared[0].abs_diff(shared[1]) >= 64 && shared.iter().all(|line| line.abs_diff(seldom) >= 64));
}

#[test]
fn four_threads_never_hold_more_than_the_limit() {
    let state = ClusterState::new(4, 3);
    let held = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if state.try_take() {
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                        held.fetch_sub(1, Ordering::SeqCst);
                        assert_eq!(state.on_released(), None);
                    }
                }
            });
        }
    });
    assert_eq!(state.taken(), 0);
}

/// The protocol at the top of the file, played by some workers whose messages arrive late and in any order.
mod model {
    use std::collections::VecDeque;

    use super::*;
    use crate::rng::Rng;

    const WORKERS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Message {
        Wake,
        Reclaim,
    }

    struct Play {
        state: ClusterState,
        limit: usize,
        queues: [VecDeque<Ticket>; WORKERS],
        busy: [usize; WORKERS],
        idle: [usize; WORKERS],
        messages: Vec<(usize, Message)>,
        served: usize,
    }

    impl Play {
        fn new(limit: usize) -> Self {
            Self {
                state: ClusterState::new(WORKERS, limit),
                limit,
                queues: Default::default(),
                busy: [0; WORKERS],
                idle: [0; WORKERS],
                messages: Vec::new(),
                served: 0,
            }
        }

        fn wake(&mut self, named: Option<usize>) {
            self.messages.extend(named.map(|worker| (worker, Message::Wake)));
        }

        /// Somebody waits: an idle connection goes to the first waiter, or its credit does.
        fn reclaim(&mut self, worker: usize) {
            if self.idle[worker] == 0 {
                let holder = self.state.idle_elsewhere(worker);
                self.messages.extend(holder.map(|holder| (holder, Message::Reclaim)));
                return;
            }
            if self.state.is_first(worker) && !self.state.is_over() {
                self.take_front(worker);
                self.left(worker);
                self.set_idle(worker, self.idle[worker] - 1);
            } else {
                let named = self.state.on_released();
                self.set_idle(worker, self.idle[worker] - 1);
                self.wake(named);
            }
        }

        fn tick(&mut self, worker: usize) {
            self.serve(worker);
            if !self.queues[worker].is_empty() {
                self.reclaim(worker);
            }
        }

        fn set_idle(&mut self, worker: usize, idle: usize) {
            self.idle[worker] = idle;
            self.state.set_idle(worker, idle);
        }

        /// A request arrives: an idle connection, a new one, or a place in the queue.
        fn request(&mut self, worker: usize, max_waiting: usize) {
            if self.state.waiting() == 0 && self.idle[worker] > 0 {
                self.set_idle(worker, self.idle[worker] - 1);
                self.busy[worker] += 1;
            } else if self.state.try_take() {
                assert!(self.limit == 0 || self.state.taken() <= self.limit);
                assert!(self.limit == 0 || self.queues.iter().all(VecDeque::is_empty), "overtaken");
                self.busy[worker] += 1;
            } else if let Some(ticket) = self.state.try_join(max_waiting) {
                self.queues[worker].push_back(ticket);
                if self.queues[worker].len() == 1 {
                    self.state.set_head(worker, Some(ticket));
                    self.serve(worker);
                }
                if self.queues[worker].contains(&ticket) {
                    self.reclaim(worker);
                }
            } else {
                assert!(self.waiting() >= max_waiting, "refused though the queue has room");
            }
        }

        fn serve(&mut self, worker: usize) {
            while !self.queues[worker].is_empty() && self.state.try_take_turn(worker) {
                assert!(self.limit == 0 || self.state.taken() <= self.limit);
                self.take_front(worker);
                self.state.set_head(worker, self.queues[worker].front().copied());
                let named = self.state.on_served();
                self.wake(named);
            }
        }

        /// The front of `worker` goes on.
        fn take_front(&mut self, worker: usize) {
            let front = self.queues[worker].pop_front().expect("who is first waits");
            assert!(self.queues.iter().flatten().all(|other| front < *other), "first come, first served");
            self.busy[worker] += 1;
            self.served += 1;
        }

        fn left(&mut self, worker: usize) {
            self.state.set_head(worker, self.queues[worker].front().copied());
            let named = self.state.on_left();
            self.wake(named);
        }

        fn cancel(&mut self, worker: usize, at: usize) {
            if self.queues[worker].remove(at).is_some() {
                self.left(worker);
            }
        }

        fn close(&mut self, worker: usize) {
            if self.busy[worker] > 0 {
                self.busy[worker] -= 1;
                let named = self.state.on_released();
                self.wake(named);
            }
        }

        fn rest(&mut self, worker: usize) {
            if self.busy[worker] == 0 || self.state.is_over() {
                return self.close(worker);
            }
            self.busy[worker] -= 1;
            self.set_idle(worker, self.idle[worker] + 1);
            if self.state.waiting() > 0 {
                self.reclaim(worker);
            }
        }

        fn deliver(&mut self, at: usize) {
            if at < self.messages.len() {
                match self.messages.swap_remove(at) {
                    (worker, Message::Wake) => self.serve(worker),
                    (_, Message::Reclaim) if self.state.waiting() == 0 => {}
                    (worker, Message::Reclaim) => self.reclaim(worker),
                }
            }
        }

        fn set_limit(&mut self, limit: usize) {
            self.limit = limit;
            let named = self.state.set_limit(limit);
            self.wake(named);
        }

        fn waiting(&self) -> usize {
            self.queues.iter().map(VecDeque::len).sum()
        }

        fn check(&self) {
            let open = self.busy.iter().sum::<usize>() + self.idle.iter().sum::<usize>();
            assert_eq!(self.state.taken(), open, "a credit for each open connection");
            assert_eq!(self.state.waiting(), self.waiting());
            let busy = self.busy.iter().sum::<usize>();
            assert_eq!(self.state.in_use(), busy);
            assert_eq!(self.state.has_room(), self.limit == 0 || busy + self.waiting() < self.limit);
        }

        /// With every message delivered, no waiter stands before a free credit or an idle connection.
        fn check_settled(&mut self) {
            for _ in 0..10_000 {
                if self.messages.is_empty() {
                    break;
                }
                self.deliver(0);
            }
            assert!(self.messages.is_empty(), "messages without end");
            self.check();
            if self.waiting() > 0 {
                assert!(self.limit != 0 && self.state.taken() >= self.limit, "a credit is free and somebody waits");
                let is_over = self.state.taken() > self.limit;
                assert!(is_over || self.idle == [0; WORKERS], "a connection rests and somebody waits");
            }
        }
    }

    /// Some requests and what may happen between them.
    fn play(seed: u64) -> Play {
        let mut rng = Rng::from_seed(seed);
        let mut below = |bound: usize| usize::try_from(rng.below(bound as u64)).unwrap();
        let mut play = Play::new(1 + below(4));
        // Each play leaves some of the kinds out, so that the others come together in more ways.
        let kinds = below(1 << 6);
        for _ in 0..below(60) {
            let (kind, worker, at) = (below(8), below(WORKERS), below(3));
            match kind {
                0 if kinds & 1 > 0 => play.close(worker),
                1 | 2 if kinds & 2 > 0 => play.rest(worker),
                3 if kinds & 4 > 0 => play.cancel(worker, at),
                4 if kinds & 8 > 0 && below(8) == 0 => play.set_limit(below(5)),
                5 if kinds & 16 > 0 => play.deliver(at),
                6 if kinds & 32 > 0 && below(4) == 0 => play.check_settled(),
                _ => play.request(worker, 5),
            }
            play.check();
        }
        play
    }

    #[test]
    fn nobody_waits_before_a_free_credit_and_all_are_served_in_order() {
        let mut served = 0;
        for seed in 0..4_000 {
            let mut play = play(seed);
            play.check_settled();
            served += play.served;
        }
        assert!(served > 1_000, "waiters were served: {served}");
    }

    #[test]
    fn ticks_make_up_for_messages_that_were_lost_and_limits_that_were_lowered() {
        for seed in 0..4_000 {
            let mut play = play(seed);
            play.messages.clear();
            // A tick gives up one connection; no play has more open.
            for _ in 0..60 {
                (0..WORKERS).for_each(|worker| play.tick(worker));
                play.deliver(0);
            }
            play.check_settled();
            assert!(play.waiting() == 0 || play.idle == [0; WORKERS], "a connection rests and somebody waits");
        }
    }

    #[test]
    fn a_worker_whose_own_connections_rest_gives_one_up_for_its_waiter() {
        let mut play = Play::new(2);
        play.request(0, 9);
        play.request(0, 9);
        play.rest(0);
        play.rest(0);
        play.request(1, 9);
        play.request(0, 9);
        play.check_settled();
        assert_eq!((play.waiting(), play.served), (0, 2));
    }
}
