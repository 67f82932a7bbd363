//! Balancers: the choice among the fit endpoints of a cluster.

/// Takes the endpoints in turn; one cursor per worker and cluster.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// A cursor that begins at `start` modulo the number of endpoints.
    ///
    /// Workers begin at different places, or all of them would open on the same endpoint.
    pub fn new(start: u32) -> Self {
        Self { next: start as usize }
    }

    /// The next fit one of `count` endpoints, `None` when there is none.
    ///
    /// `avoid` (the endpoint that just failed) is chosen only when no other is fit. The cursor goes on behind the
    /// endpoint picked, so those that stand behind an unfit one get no more than their share.
    pub fn try_pick(&mut self, count: usize, is_fit: impl Fn(usize) -> bool, avoid: Option<usize>) -> Option<usize> {
        let begin = self.next.checked_rem(count)?;
        let mut others = (begin..count).chain(0..begin).filter(|at| Some(*at) != avoid);
        let picked = others.find(|at| is_fit(*at)).or_else(|| avoid.filter(|at| *at < count && is_fit(*at)))?;
        self.next = picked + 1;
        Some(picked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(balance: &mut RoundRobin, fit: &[bool], rounds: usize) -> Vec<usize> {
        (0..rounds).map(|_| balance.try_pick(fit.len(), |at| fit[at], None).unwrap()).collect()
    }

    #[test]
    fn endpoints_come_in_turn_from_the_start_given() {
        assert_eq!(picks(&mut RoundRobin::new(0), &[true; 3], 7), [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(picks(&mut RoundRobin::new(5), &[true; 3], 4), [2, 0, 1, 2]);
        assert_eq!(picks(&mut RoundRobin::new(u32::MAX), &[true; 1], 3), [0, 0, 0]);
    }

    #[test]
    fn the_fit_share_the_load_of_the_unfit_evenly() {
        let picks = picks(&mut RoundRobin::new(1), &[true, false, false, true, true], 300);
        for endpoint in [0, 3, 4] {
            assert_eq!(picks.iter().filter(|pick| **pick == endpoint).count(), 100);
        }
    }

    #[test]
    fn nothing_is_picked_when_none_is_fit_or_there_are_none() {
        let mut balance = RoundRobin::new(9);
        assert_eq!(balance.try_pick(4, |_| false, None), None);
        assert_eq!(balance.try_pick(4, |_| false, Some(2)), None);
        assert_eq!(balance.try_pick(0, |_| true, None), None);
        assert_eq!(balance.try_pick(0, |_| true, Some(0)), None);
    }

    #[test]
    fn the_endpoint_to_avoid_is_picked_only_when_no_other_is_fit() {
        let mut balance = RoundRobin::new(1);
        assert_eq!(balance.try_pick(3, |_| true, Some(1)), Some(2));
        assert_eq!(balance.try_pick(3, |at| at != 0, Some(2)), Some(1));
        assert_eq!(balance.try_pick(3, |at| at == 2, Some(2)), Some(2));
        assert_eq!(balance.try_pick(3, |at| at == 1, Some(2)), Some(1));
        assert_eq!(balance.try_pick(3, |at| at == 1, Some(7)), Some(1));
    }

    #[test]
    fn a_cluster_that_shrinks_keeps_the_cursor_within_it() {
        let mut balance = RoundRobin::new(4);
        assert_eq!(picks(&mut balance, &[true; 5], 1), [4]);
        assert_eq!(picks(&mut balance, &[true; 2], 3), [1, 0, 1]);
    }
}
