//! When a connection of a cluster at its cap is to move to another endpoint.

/// How often a request used an open connection in one endpoint's place, beyond the opposite.
///
/// At the cap a request uses whichever connection is free, though the balancer named another endpoint. Where the balancer
/// would have connections as they are, these differences even out, and no connection need move. An endpoint that has too few
/// for what it is named gains, until one request insists on it, which closes a connection for a new one to it. One endpoint
/// has one byte, a worker and a cluster one of these.
#[derive(Clone, Debug)]
pub struct PassedOver(Box<[i8]>);

impl PassedOver {
    /// For `count` endpoints that are named as often as they are used, so far; `draw` gives random numbers below the one it is
    /// given, as not all workers are to insist at once.
    #[must_use]
    pub fn new(count: usize, mut draw: impl FnMut(u64) -> u64) -> Self {
        let start = |_| i8::try_from(draw(u64::from(Self::MOST.unsigned_abs()))).unwrap_or(0);
        Self((0..count).map(start).collect())
    }

    /// So often passed over, an endpoint is insisted on; as far ahead it may be at most.
    const MOST: i8 = crate::limits::INSISTS_AFTER;

    /// Is the request that drew this endpoint to have a connection to it?
    #[must_use]
    pub fn insists(&self, drawn: usize) -> bool {
        self.0.get(drawn).is_some_and(|count| *count >= Self::MOST)
    }

    /// A request that drew one endpoint has used a connection to another one.
    pub fn on_settled(&mut self, drawn: usize, used: usize) {
        self.add(drawn, 1);
        self.add(used, -1);
    }

    /// A request has insisted on this endpoint.
    pub fn on_insisted(&mut self, drawn: usize) {
        if let Some(count) = self.0.get_mut(drawn) {
            *count = (*count).min(0);
        }
    }

    fn add(&mut self, at: usize, by: i8) {
        if let Some(count) = self.0.get_mut(at) {
            *count = (*count + by).clamp(-Self::MOST, Self::MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// A cluster at its cap, whose connections come free one after the other, the sooner the faster their endpoint is.
    struct Capped {
        connections: Vec<usize>,
        speeds: Vec<u64>,
        opened: u64,
        served: Vec<u64>,
    }

    impl Capped {
        /// Serves so many requests, of which the balancer gives each endpoint its share.
        fn serve(&mut self, requests: u64, shares: &[u64], passed_over: &mut PassedOver, rng: &mut Rng) {
            self.served.fill(0);
            for _ in 0..requests {
                let drawn = drawn(shares, rng);
                let speeds: Vec<u64> = self.connections.iter().map(|at| self.speeds[*at]).collect();
                let free = self::drawn(&speeds, rng);
                let used = self.connections[free];
                if drawn != used && passed_over.insists(drawn) {
                    passed_over.on_insisted(drawn);
                    self.connections[free] = drawn;
                    self.opened += 1;
                } else if drawn != used {
                    passed_over.on_settled(drawn, used);
                }
                self.served[self.connections[free]] += 1;
            }
        }
    }

    fn drawn(shares: &[u64], rng: &mut Rng) -> usize {
        let mut left = rng.below(shares.iter().sum());
        let is_it = |share: &u64| {
            left < *share || {
                left -= *share;
                false
            }
        };
        shares.iter().position(is_it).unwrap()
    }

    fn of(count: usize, rng: &mut Rng) -> PassedOver {
        PassedOver::new(count, |below| rng.below(below))
    }

    #[test]
    fn connections_that_are_as_the_balancer_wants_them_hardly_move() {
        for seed in 0..10 {
            let mut rng = Rng::from_seed(seed);
            let mut passed_over = of(4, &mut rng);
            let (connections, served) = ((0..16).map(|at| at % 4).collect(), vec![0; 4]);
            let mut capped = Capped { connections, speeds: vec![1; 4], opened: 0, served };
            capped.serve(100_000, &[1; 4], &mut passed_over, &mut rng);
            assert!(capped.opened < 500, "seed {seed}: {} of 100,000", capped.opened);
            for served in &capped.served {
                assert!(served.abs_diff(25_000) < 1_500, "seed {seed}: {:?}", capped.served);
            }
        }
    }

    /// Weights hold over time, also where a connection to one endpoint comes free four times as often.
    #[test]
    fn requests_go_where_the_balancer_wants_them_whatever_connections_there_were() {
        for seed in 0..10 {
            let mut rng = Rng::from_seed(seed);
            let mut passed_over = of(3, &mut rng);
            let mut capped = Capped { connections: vec![0; 30], speeds: vec![4, 1, 1], opened: 0, served: vec![0; 3] };
            capped.serve(20_000, &[1, 2, 1], &mut passed_over, &mut rng);
            capped.serve(40_000, &[1, 2, 1], &mut passed_over, &mut rng);
            for (served, wanted) in capped.served.iter().zip([10_000_u64, 20_000, 10_000]) {
                assert!(served.abs_diff(wanted) < 1_500, "seed {seed}: {:?}", capped.served);
            }
        }
    }

    #[test]
    fn an_endpoint_without_a_connection_gets_one_soon() {
        for seed in 0..10 {
            let mut rng = Rng::from_seed(seed);
            let mut passed_over = of(2, &mut rng);
            // However long the other one was the only one that was fit, and used in its place before.
            (0..1000).for_each(|_| passed_over.on_settled(0, 1));
            let needed = (0..).take_while(|_| {
                passed_over.on_settled(1, 0);
                !passed_over.insists(1)
            });
            assert_eq!(needed.count(), 63);
        }
    }

    #[test]
    fn places_beyond_the_endpoints_are_nobodys() {
        let mut none = PassedOver::new(0, |_| 0);
        none.on_settled(0, 1);
        none.on_insisted(0);
        assert!(!none.insists(0));
    }
}
