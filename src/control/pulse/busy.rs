//! How much of its core each worker's thread uses, as the kernel tells.

use std::fs;

/// Parts of a second in which the kernel counts a thread's time, the same on every Linux that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;
/// What the names of the workers' threads begin with.
const NAME: &str = "worker-";

/// Two readings of the workers' time.
#[derive(Debug, Default)]
pub(super) struct Busy {
    read_ns: u64,
    ticks: Vec<Option<u64>>,
    shares: Vec<Option<f64>>,
}

impl Busy {
    /// Reads what the threads of `workers` workers have used by `now_ns`.
    pub(super) fn on_second(&mut self, now_ns: u64, workers: usize) {
        self.take(now_ns, ticks_by_worker(workers));
    }

    /// Forgets what it knows, so that a pause is no second.
    pub(super) fn on_pause(&mut self) {
        *self = Self::default();
    }

    #[allow(clippy::cast_precision_loss, reason = "a page rounds")]
    fn take(&mut self, now_ns: u64, ticks: Vec<Option<u64>>) {
        let seconds = now_ns.saturating_sub(self.read_ns) as f64 / 1e9;
        let share = |now: u64, last: u64| (now.saturating_sub(last) as f64 / TICKS_PER_SECOND / seconds).min(1.0);
        let last = |index: usize| self.ticks.get(index).copied().flatten();
        self.shares = ticks.iter().enumerate().map(|(index, now)| Some(share((*now)?, last(index)?))).collect();
        self.ticks = ticks;
        self.read_ns = now_ns;
    }

    /// The share of its core that a worker used in the last second, 0 to 1; `None` when that is not known.
    pub(super) fn of_worker(&self, index: usize) -> Option<f64> {
        self.shares.get(index).copied().flatten()
    }
}

fn ticks_by_worker(workers: usize) -> Vec<Option<u64>> {
    let mut ticks = vec![None; workers];
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return ticks };
    for thread in threads.map_while(Result::ok) {
        let read = fs::read_to_string(thread.path().join("stat")).ok();
        if let Some((worker, used)) = read.as_deref().and_then(parse)
            && let Some(cell) = ticks.get_mut(worker)
        {
            *cell = Some(used);
        }
    }
    ticks
}

/// The number of a worker and the ticks that its thread has used, of a line of `/proc/PID/task/TID/stat`.
fn parse(stat: &str) -> Option<(usize, u64)> {
    let (_, rest) = stat.split_once('(')?;
    // A name may have brackets of its own.
    let (name, rest) = rest.rsplit_once(')')?;
    let worker = name.strip_prefix(NAME)?.parse().ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map_while(|field| field.parse::<u64>().ok());
    Some((worker, fields.next()? + fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_workers_thread_is_read() {
        let of = |name: &str| parse(&format!("7 ({name}) S 1 2 3 4 5 6 7 8 9 10 30 12 13 14 15 16"));
        assert_eq!(of("worker-12"), Some((12, 42)));
        assert_eq!(of("worker-x"), None);
        assert_eq!(of("a) (b"), None);
        assert_eq!(parse("7 (worker-1) S 1"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_share_is_the_time_used_between_two_readings() {
        let mut busy = Busy::default();
        busy.take(1_000_000_000, vec![Some(100), Some(5)]);
        assert_eq!([busy.of_worker(0), busy.of_worker(1)], [None, None], "there is one reading");
        busy.take(3_000_000_000, vec![Some(150), None]);
        assert_eq!([busy.of_worker(0), busy.of_worker(1), busy.of_worker(2)], [Some(0.25), None, None]);
        busy.on_pause();
        busy.take(4_000_000_000, vec![Some(160), Some(9)]);
        assert_eq!(busy.of_worker(0), None);
    }
}
