//! When a target is probed and what is made of the results, in virtual time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::attempt::Check;
use super::super::task;
use super::*;
use tokio::time::Instant;

/// Gives outcomes in order, the last one again and again.
struct Scripted(VecDeque<Result<Cow<'static, str>, Trouble>>);

impl Scripted {
    fn new(outcomes: impl IntoIterator<Item = Result<Cow<'static, str>, Trouble>>) -> Self {
        Self(outcomes.into_iter().collect())
    }
}

impl Check for Scripted {
    async fn check(&mut self) -> Outcome {
        let result = if self.0.len() > 1 { self.0.pop_front() } else { self.0.front().cloned() };
        Outcome { result: result.unwrap(), latency_us: 3 }
    }
}

const UP: Result<Cow<'static, str>, Trouble> = Ok(Cow::Borrowed("up"));
const DOWN: Result<Cow<'static, str>, Trouble> = Err(Trouble::Refused);
const INTERVAL: Duration = Duration::from_secs(5);

fn scheduled(require_probe: bool) -> Target {
    let mut target = target(ProbeKind::Tcp, "127.0.0.1:1".parse().unwrap());
    target.health.interval = INTERVAL;
    target.health.require_probe = require_probe;
    target
}

fn start(target: Target, check: impl Check) -> mpsc::UnboundedReceiver<Report> {
    let (shared, inbox) = shared();
    tokio::spawn(task::run(shared, target, 1, check));
    inbox
}

#[tokio::test(start_paused = true)]
async fn the_first_probes_spread_over_the_interval() {
    let began = Instant::now();
    let mut waits = Vec::new();
    let (shared, mut inbox) = shared();
    for _ in 0..50 {
        tokio::spawn(task::run(Arc::clone(&shared), scheduled(false), 1, Scripted::new([UP])));
    }
    for _ in 0..50 {
        inbox.recv().await.unwrap();
        waits.push(began.elapsed());
    }
    assert!(waits.iter().all(|wait| *wait <= INTERVAL + INTERVAL / 100), "{waits:?}");
    let early = waits.iter().filter(|wait| **wait < INTERVAL / 2).count();
    assert!((5..=45).contains(&early), "{early} of 50 in the first half");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_must_be_probed_first_is_probed_at_once() {
    let began = Instant::now();
    let mut inbox = start(scheduled(true), Scripted::new([UP]));
    let report = inbox.recv().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!((report.ok, report.verdict, report.latency_us, &*report.detail), (true, Some(true), 3, "up"));
}

/// Takes two seconds each time.
struct Slow;

impl Check for Slow {
    async fn check(&mut self) -> Outcome {
        tokio::time::sleep(Duration::from_secs(2)).await;
        Outcome { result: UP, latency_us: 2_000_000 }
    }
}

#[tokio::test(start_paused = true)]
async fn probes_come_an_interval_apart_give_or_take_a_tenth() {
    come_an_interval_apart(start(scheduled(true), Scripted::new([UP]))).await;
}

#[tokio::test(start_paused = true)]
async fn probes_that_take_their_time_come_no_less_often() {
    // Reports are told at the end of a probe, each as late as the last one.
    come_an_interval_apart(start(scheduled(true), Slow)).await;
}

async fn come_an_interval_apart(mut inbox: mpsc::UnboundedReceiver<Report>) {
    inbox.recv().await.unwrap();
    let mut last = Instant::now();
    let mut pauses = Vec::new();
    for _ in 0..100 {
        inbox.recv().await.unwrap();
        pauses.push(last.elapsed().as_millis());
        last = Instant::now();
    }
    // The clock of the runtime has whole milliseconds.
    assert!(pauses.iter().all(|ms| (4_499..=5_502).contains(ms)), "{pauses:?}");
    assert!(pauses.iter().max() > pauses.iter().min(), "no two targets stay in step");
}

#[tokio::test(start_paused = true)]
async fn results_in_a_row_change_the_verdict_and_each_change_is_told_once() {
    let script = [DOWN, DOWN, UP, UP, DOWN, DOWN, UP, DOWN, DOWN, DOWN, DOWN, UP, DOWN, UP, UP, UP];
    let count = script.len();
    let mut inbox = start(scheduled(true), Scripted::new(script));
    let mut verdicts = Vec::new();
    for at in 0..count {
        verdicts.extend(inbox.recv().await.unwrap().verdict.map(|verdict| (at, verdict)));
    }
    assert_eq!(verdicts, [(2, true), (9, false), (14, true)]);
}

#[tokio::test(start_paused = true)]
async fn what_this_machine_lacks_is_not_counted() {
    let ours = Err(Trouble::Ours("no descriptors".into()));
    let script = [UP, DOWN, DOWN, ours.clone(), ours.clone(), ours.clone(), UP, DOWN, DOWN, ours, DOWN, UP];
    let mut inbox = start(scheduled(true), Scripted::new(script));
    let mut verdicts = Vec::new();
    for at in 0..11 {
        let report = inbox.recv().await.unwrap();
        verdicts.extend(report.verdict.map(|verdict| (at, verdict)));
        if at == 3 {
            assert_eq!((report.ok, &*report.detail), (false, "not probed: no descriptors"));
        }
    }
    assert_eq!(verdicts, [(0, true), (10, false)]);
}

/// Waits for leave and counts how many wait with it.
struct Waiting {
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    leave: Arc<Semaphore>,
}

impl Check for Waiting {
    async fn check(&mut self) -> Outcome {
        self.most.fetch_max(self.under_way.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.leave.acquire().await.unwrap().forget();
        self.under_way.fetch_sub(1, Ordering::Relaxed);
        Outcome { result: UP, latency_us: 1 }
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_probes_than_the_bound_are_under_way_and_none_is_forgotten() {
    const TARGETS: usize = 3 * PROBES_AT_ONCE;
    let (shared, mut inbox) = shared();
    let [under_way, most] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let leave = Arc::new(Semaphore::new(0));
    for _ in 0..TARGETS {
        let (under_way, most, leave) = (Arc::clone(&under_way), Arc::clone(&most), Arc::clone(&leave));
        let check = Waiting { under_way, most, leave };
        tokio::spawn(task::run(Arc::clone(&shared), scheduled(true), 1, check));
    }
    // Every task has had more than one turn by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(under_way.load(Ordering::Relaxed), PROBES_AT_ONCE);
    leave.add_permits(TARGETS);
    for _ in 0..TARGETS {
        inbox.recv().await.unwrap();
    }
    assert_eq!(most.load(Ordering::Relaxed), PROBES_AT_ONCE);
}

/// Takes all of its timeout and fails, as a black hole does.
struct Lost;

impl Check for Lost {
    async fn check(&mut self) -> Outcome {
        tokio::time::sleep(INTERVAL).await;
        Outcome { result: DOWN, latency_us: 0 }
    }
}

#[tokio::test(start_paused = true)]
async fn the_well_are_probed_in_time_however_many_are_lost() {
    let (shared, mut inbox) = shared();
    for _ in 0..20 * PROBES_AT_ONCE {
        tokio::spawn(task::run(Arc::clone(&shared), scheduled(true), 1, Lost));
    }
    // Each of them has been found out once.
    for _ in 0..20 * PROBES_AT_ONCE {
        inbox.recv().await.unwrap();
    }
    let mut well = scheduled(true);
    well.id = EndpointId(1);
    tokio::spawn(task::run(shared, well, 1, Scripted::new([UP])));
    let began = Instant::now();
    let mut told = 0;
    while told < 20 {
        told += u32::from(inbox.recv().await.unwrap().id == EndpointId(1));
    }
    assert!(began.elapsed() < INTERVAL * 22, "20 probes took {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_task_ends_when_nobody_listens() {
    let (shared, inbox) = shared();
    drop(inbox);
    let task = tokio::spawn(task::run(shared, scheduled(false), 1, Scripted::new([UP])));
    soon(task).await.unwrap();
}
