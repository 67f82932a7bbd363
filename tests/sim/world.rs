//! The executor: one thread, virtual time, tasks polled in a seeded order.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use crate::chance::Chance;

pub(crate) const MS: u64 = 1_000_000;
/// Polls within one virtual millisecond from which on somebody spins.
const POLLS_PER_MS: u32 = 200_000;

/// By time, and in the order asked for.
type Timers = BTreeMap<(u64, u64), Box<dyn FnOnce()>>;
type Task = Pin<Box<dyn Future<Output = ()>>>;
/// Called whenever something has run.
type Watch = Rc<dyn Fn()>;

thread_local! {
    // One world per thread at a time; a queue here needs no lock, which a waker would otherwise ask for.
    static READY: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

struct TaskWaker {
    task: usize,
    queued: AtomicBool,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            READY.with(|ready| ready.borrow_mut().push(self.task));
        }
    }
}

struct Slot {
    task: Option<Task>,
    waker: Arc<TaskWaker>,
}

struct Inner {
    now_ns: Cell<u64>,
    slots: RefCell<Vec<Slot>>,
    timers: RefCell<Timers>,
    sequence: Cell<u64>,
    alive: Cell<usize>,
    current: Cell<Option<usize>>,
    watch: RefCell<Option<Watch>>,
    history: Cell<u64>,
    chance: Chance,
    problems: RefCell<Vec<String>>,
    trace: bool,
}

/// Time, tasks and what went wrong.
#[derive(Clone)]
pub(crate) struct World {
    inner: Rc<Inner>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        READY.with(|ready| ready.borrow_mut().clear());
        Self {
            inner: Rc::new(Inner {
                now_ns: Cell::new(MS),
                slots: RefCell::default(),
                timers: RefCell::default(),
                sequence: Cell::new(0),
                alive: Cell::new(0),
                current: Cell::new(None),
                watch: RefCell::default(),
                history: Cell::new(0),
                chance: Chance::new(seed),
                problems: RefCell::default(),
                trace: std::env::var_os("SIM_TRACE").is_some(),
            }),
        }
    }

    pub(crate) fn now_ns(&self) -> u64 {
        self.inner.now_ns.get()
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ns() / MS
    }

    /// Choices of the world itself: scheduling, splits and delays.
    pub(crate) fn chance(&self) -> &Chance {
        &self.inner.chance
    }

    /// Prints a line of the story when asked to.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if self.inner.trace {
            eprintln!("{:>12.6} {}", self.now_ns() as f64 / MS as f64, line());
        }
    }

    /// Notes a broken invariant.
    pub(crate) fn blame(&self, problem: String) {
        self.tell(|| format!("PROBLEM {problem}"));
        self.inner.problems.borrow_mut().push(format!("at {} ms: {problem}", self.now_ms()));
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.inner.problems.borrow().clone()
    }

    /// A number that all polls and their times went into.
    pub(crate) fn history(&self) -> u64 {
        self.inner.history.get()
    }

    /// Tasks that have not ended.
    pub(crate) fn alive(&self) -> usize {
        self.inner.alive.get()
    }

    /// Starts a task; returns its number.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) -> usize {
        let mut slots = self.inner.slots.borrow_mut();
        let number = slots.len();
        let waker = Arc::new(TaskWaker { task: number, queued: AtomicBool::new(false) });
        slots.push(Slot { task: Some(Box::pin(task)), waker: Arc::clone(&waker) });
        self.inner.alive.set(self.alive() + 1);
        waker.wake();
        number
    }

    /// Drops a task that has not ended; not the one that runs.
    pub(crate) fn abort(&self, number: usize) {
        let task = self.inner.slots.borrow_mut()[number].task.take();
        if task.is_some() {
            self.inner.alive.set(self.alive() - 1);
        }
        drop(task);
    }

    /// The task that runs, if one does.
    pub(crate) fn current(&self) -> Option<usize> {
        self.inner.current.get()
    }

    /// Has `watch` called whenever a task was polled or an action was taken.
    pub(crate) fn set_watch(&self, watch: impl Fn() + 'static) {
        *self.inner.watch.borrow_mut() = Some(Rc::new(watch));
    }

    /// Runs `action` at a time; what is due at once runs in the order it was asked for.
    pub(crate) fn at(&self, at_ns: u64, action: impl FnOnce() + 'static) {
        let sequence = self.inner.sequence.get();
        self.inner.sequence.set(sequence + 1);
        self.inner.timers.borrow_mut().insert((at_ns.max(self.now_ns()), sequence), Box::new(action));
    }

    pub(crate) async fn sleep_ns(&self, ns: u64) {
        let due_ns = self.now_ns() + ns;
        let mut asked = false;
        poll_fn(|poller| {
            if self.now_ns() >= due_ns {
                return Poll::Ready(());
            }
            if !asked {
                asked = true;
                let waker = poller.waker().clone();
                self.at(due_ns, move || waker.wake());
            }
            Poll::Pending
        })
        .await;
    }

    pub(crate) async fn sleep_ms(&self, ms: u64) {
        self.sleep_ns(ms * MS).await;
    }

    /// `None` when `operation` takes longer than `ms`.
    pub(crate) async fn within<F: Future>(&self, ms: u64, operation: F) -> Option<F::Output> {
        let mut operation = pin!(operation);
        let mut limit = pin!(self.sleep_ms(ms));
        poll_fn(|poller| match operation.as_mut().poll(poller) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => limit.as_mut().poll(poller).map(|()| None),
        })
        .await
    }

    /// Runs until `is_over` or until virtual time reaches `end_ns`; whether it was over.
    pub(crate) fn run(&self, end_ns: u64, is_over: impl Fn() -> bool) -> bool {
        let mut polls = (0, 0_u32);
        loop {
            while let Some(task) = self.next_ready() {
                self.poll(task);
                polls = if polls.0 == self.now_ms() { (polls.0, polls.1 + 1) } else { (self.now_ms(), 1) };
                if polls.1 > POLLS_PER_MS {
                    self.blame(format!(
                        "a spin: more than {POLLS_PER_MS} polls in one millisecond, task {task} among them"
                    ));
                    return false;
                }
            }
            if is_over() {
                return true;
            }
            let Some((at_ns, action)) = self.next_due(end_ns) else { return false };
            self.inner.now_ns.set(at_ns);
            action();
            self.look();
        }
    }

    /// What is due first, if that is by `end_ns`.
    fn next_due(&self, end_ns: u64) -> Option<(u64, Box<dyn FnOnce()>)> {
        let mut timers = self.inner.timers.borrow_mut();
        let entry = timers.first_entry().filter(|entry| entry.key().0 <= end_ns)?;
        let ((at_ns, _), action) = entry.remove_entry();
        Some((at_ns, action))
    }

    fn next_ready(&self) -> Option<usize> {
        READY.with(|ready| {
            let mut ready = ready.borrow_mut();
            let length = ready.len();
            (length > 0).then(|| ready.swap_remove(self.inner.chance.below(length)))
        })
    }

    fn poll(&self, task: usize) {
        let mut slots = self.inner.slots.borrow_mut();
        let slot = &mut slots[task];
        let history = self.history().wrapping_mul(0x0100_0000_01b3) ^ self.now_ns() ^ (task as u64) << 48;
        self.inner.history.set(history);
        slot.waker.queued.store(false, Ordering::Relaxed);
        let Some(mut future) = slot.task.take() else { return };
        let waker = Waker::from(Arc::clone(&slot.waker));
        drop(slots);
        self.inner.current.set(Some(task));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            self.inner.alive.set(self.alive() - 1);
            drop(future);
        } else {
            self.inner.slots.borrow_mut()[task].task = Some(future);
        }
        self.look();
        self.inner.current.set(None);
    }

    fn look(&self) {
        let watch = self.inner.watch.borrow().as_ref().map(Rc::clone);
        if let Some(watch) = watch {
            watch();
        }
    }

    /// Drops everything that still waits; tasks own the world that owns them.
    pub(crate) fn end(&self) {
        drop(self.inner.watch.take());
        let slots = std::mem::take(&mut *self.inner.slots.borrow_mut());
        drop(slots);
        let timers = std::mem::take(&mut *self.inner.timers.borrow_mut());
        drop(timers);
    }
}

/// Wakes whoever waits for a change.
#[derive(Default)]
pub(crate) struct Bell {
    waiting: RefCell<Vec<Waker>>,
}

impl Bell {
    pub(crate) fn ring(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn listen(&self, poller: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(poller.waker())) {
            waiting.push(poller.waker().clone());
        }
    }

    /// Completes once `is_so`, looked at whenever the bell rings.
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) {
        poll_fn(|poller| {
            if is_so() {
                return Poll::Ready(());
            }
            self.listen(poller);
            Poll::Pending
        })
        .await;
    }
}
