//! Weights that operators gave endpoints by way of the admin server, in place of those of the configuration.

use std::net::SocketAddr;

use crate::config::Config;
use crate::snapshot::Weights;

/// Most that a weight may be, as in the configuration.
pub(super) const WEIGHT_MAX: u32 = 1_000;

/// What is asked of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This weight; 0 drains it.
    Weight(u32),
    /// The weight of the configuration.
    Configured,
}

/// The weights in force beside those of the configuration.
#[derive(Debug, Default)]
pub(super) struct GivenWeights(Weights);

impl GivenWeights {
    /// Takes up what is asked of an endpoint; whether that is anything new.
    pub(super) fn set(&mut self, cluster: &str, address: SocketAddr, wanted: Wanted) -> bool {
        let key = (cluster.to_owned(), address);
        match wanted {
            Wanted::Weight(weight) => self.0.insert(key, weight) != Some(weight),
            Wanted::Configured => self.0.remove(&key).is_some(),
        }
    }

    /// Forgets those of clusters that no configuration has. Addresses come and go with their names.
    pub(super) fn follow<'a>(&mut self, configs: impl Iterator<Item = &'a Config> + Clone) {
        let is_known = |name: &String| {
            let mut clusters = configs.clone().flat_map(|config| &config.clusters);
            clusters.any(|known| known.name == *name)
        };
        self.0.retain(|(cluster, _), _| is_known(cluster));
    }

    /// For the tables.
    pub(super) fn all(&self) -> Weights {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_stays_until_it_is_given_back() {
        let mut given = GivenWeights::default();
        let address = "10.0.0.1:80".parse().unwrap();
        assert!(!given.set("app", address, Wanted::Configured));
        assert!(given.set("app", address, Wanted::Weight(0)));
        assert!(!given.set("app", address, Wanted::Weight(0)));
        assert!(given.set("other", address, Wanted::Weight(5)));
        assert_eq!(given.all().len(), 2);
        assert!(given.set("app", address, Wanted::Configured));
        assert_eq!(given.all().get(&("other".to_owned(), address)), Some(&5));
    }
}
