//! When results of probes become a verdict: so many in a row, so that one lost probe changes nothing.

/// The verdict about one endpoint, changed only by results in a row.
///
/// | verdict | success | failure |
/// |---|---|---|
/// | unknown | healthy at once | unhealthy when it is the `unhealthy_after`th in a row |
/// | healthy | stays | unhealthy when it is the `unhealthy_after`th in a row |
/// | unhealthy | healthy when it is the `healthy_after`th in a row | stays |
///
/// From unknown one success is enough: `healthy_after` is there against flapping, and what was never unhealthy cannot
/// flap. An endpoint with `require_probe` therefore takes traffic after its first success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCount {
    healthy_after: u32,
    unhealthy_after: u32,
    verdict: Option<bool>,
    /// Results in a row that speak against the verdict.
    against: u32,
}

impl HealthCount {
    /// A count that knows nothing; zero is taken as one.
    #[must_use]
    pub const fn new(healthy_after: u32, unhealthy_after: u32) -> Self {
        Self { healthy_after, unhealthy_after, verdict: None, against: 0 }
    }

    /// Told how a probe ended; the new verdict when this changed it: is the endpoint healthy?
    pub fn on_result(&mut self, ok: bool) -> Option<bool> {
        let needed = match (self.verdict, ok) {
            (Some(verdict), _) if verdict == ok => {
                self.against = 0;
                return None;
            }
            (None, true) => 1,
            (Some(_), true) => self.healthy_after,
            (None | Some(_), false) => self.unhealthy_after,
        };
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.verdict = Some(ok);
        self.verdict
    }

    /// Is the endpoint healthy? `None` until that is known.
    #[must_use]
    pub const fn verdict(&self) -> Option<bool> {
        self.verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict by the whole history: what the count must say without keeping it.
    fn verdict_of(history: &[bool], healthy_after: u32, unhealthy_after: u32) -> Option<bool> {
        let mut verdict = None;
        for end in 1..=history.len() {
            let latest = history[end - 1];
            let row = history[..end].iter().rev().take_while(|ok| **ok == latest).count();
            let needed = match (verdict, latest) {
                (None, true) => 1,
                (Some(_), true) => healthy_after.max(1),
                (None | Some(_), false) => unhealthy_after.max(1),
            };
            if row >= usize::try_from(needed).unwrap() {
                verdict = Some(latest);
            }
        }
        verdict
    }

    #[test]
    fn every_history_gives_the_verdict_of_the_model_and_tells_each_change_once() {
        const RESULTS: u32 = 12;
        for (healthy_after, unhealthy_after) in [(1, 1), (2, 3), (3, 2), (1, 4), (0, 0), (5, 1)] {
            for bits in 0..1_u32 << RESULTS {
                let history: Vec<bool> = (0..RESULTS).map(|at| bits >> at & 1 == 1).collect();
                let mut count = HealthCount::new(healthy_after, unhealthy_after);
                for at in 0..history.len() {
                    let before = count.verdict();
                    let change = count.on_result(history[at]);
                    let model = verdict_of(&history[..=at], healthy_after, unhealthy_after);
                    assert_eq!(count.verdict(), model, "{healthy_after} {unhealthy_after} {:?}", &history[..=at]);
                    assert_eq!(change, model.filter(|_| model != before), "{:?}", &history[..=at]);
                }
            }
        }
    }

    #[test]
    fn the_first_success_is_enough_when_nothing_is_known() {
        let mut count = HealthCount::new(2, 3);
        assert_eq!((count.on_result(false), count.on_result(false)), (None, None));
        assert_eq!(count.on_result(true), Some(true));
    }

    #[test]
    fn an_endpoint_that_answers_every_other_time_keeps_its_verdict() {
        for first in [true, false] {
            let mut count = HealthCount::new(2, 2);
            assert!((0..2).filter_map(|_| count.on_result(first)).count() == 1);
            assert!((0..100).all(|turn| count.on_result(turn % 2 == usize::from(first)).is_none()));
            assert_eq!(count.verdict(), Some(first));
        }
    }

    #[test]
    fn a_run_is_broken_by_one_other_result() {
        let mut count = HealthCount::new(2, 3);
        assert_eq!(count.on_result(true), Some(true));
        let results = [false, false, true, false, false, false];
        assert_eq!(results.map(|ok| count.on_result(ok)), [None, None, None, None, None, Some(false)]);
        let results = [true, false, true, true];
        assert_eq!(results.map(|ok| count.on_result(ok)), [None, None, None, Some(true)]);
    }
}
