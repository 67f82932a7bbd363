//! Where connections come in, over all epochs: who succeeds a listener that gets another name or another address.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Callers, Listener};
use crate::{config, limits};

/// Where a connection came in: by that it finds its listener, however often that gets another name or another address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entrance(u64);

/// What a listener takes over.
pub(super) struct Succession {
    /// Where its sockets take connections in.
    pub(super) entrance: Entrance,
    /// Where connections of others came in that are its own now.
    pub(super) former: Vec<Entrance>,
    pub(super) callers: Arc<Callers>,
}

/// Entrances that listeners are found by: that of each in force, and behind them the former ones. One whose listener is
/// gone may get it back while its connections rest.
#[derive(Default)]
pub(super) struct Entrances {
    known: Vec<Known>,
    /// How many there have been.
    made: u64,
}

/// An entrance, and the listener that it leads to, or led to last.
#[derive(Clone)]
struct Known {
    entrance: Entrance,
    name: String,
    /// The address as configured; its port may be 0.
    configured: SocketAddr,
    /// The address bound, once there is one.
    bound: SocketAddr,
    callers: Arc<Callers>,
}

impl Known {
    /// Which of `wanted` succeeds its listener: whatever listens on the address, or else what has the name.
    fn successor<'w>(&self, wanted: &'w [config::Listener]) -> Option<&'w config::Listener> {
        let is_there = |one: &&config::Listener| one.address == self.bound && self.bound.port() != 0;
        wanted.iter().find(is_there).or_else(|| wanted.iter().find(|one| one.name == self.name))
    }

    /// Is this the same listener, with the same sockets?
    fn is(&self, name: &str, configured: SocketAddr) -> bool {
        self.name == name && self.configured == configured
    }
}

impl Entrances {
    /// What `listener`, one of `wanted`, takes over from those in force and those before.
    pub(super) fn inherit(&mut self, listener: &config::Listener, wanted: &[config::Listener]) -> Succession {
        let leads = |known: &&Known| known.successor(wanted).is_some_and(|one| one.name == listener.name);
        let mut leading: Vec<&Known> = self.known.iter().filter(leads).collect();
        // First of all what its sockets are known by, if it keeps any.
        leading.sort_by_key(|known| (!known.is(&listener.name, listener.address), known.bound != listener.address));
        if let [first, former @ ..] = &leading[..] {
            let former = former.iter().map(|known| known.entrance).collect();
            return Succession { entrance: first.entrance, former, callers: Arc::clone(&first.callers) };
        }
        self.made += 1;
        Succession { entrance: Entrance(self.made), former: Vec::new(), callers: Arc::default() }
    }

    /// Told that these are about to be in force.
    pub(super) fn on_publishing(&mut self, listeners: &[Listener]) {
        let before = std::mem::take(&mut self.known);
        for Listener { name, address, entrance, callers, .. } in listeners {
            let same = before.iter().find(|known| known.entrance == *entrance && known.is(name, *address));
            let bound = same.map_or(*address, |same| same.bound);
            let (name, callers) = (name.clone(), Arc::clone(callers));
            self.known.push(Known { entrance: *entrance, name, configured: *address, bound, callers });
        }
        for mut known in before {
            if listeners.iter().any(|listener| listener.entrance == known.entrance) {
                continue;
            }
            match listeners.iter().position(|listener| listener.former.contains(&known.entrance)) {
                Some(at) => known = Known { entrance: known.entrance, ..self.known[at].clone() },
                // Nobody is connected who counts.
                None if Arc::strong_count(&known.callers) == 1 => known.callers = Arc::default(),
                None => {}
            }
            self.known.push(known);
        }
        self.known.truncate(listeners.len() + limits::FORMER_ENTRANCES);
    }

    /// Told that the listener `name` has sockets at this address.
    pub(super) fn on_bound(&mut self, name: &str, bound: SocketAddr) {
        self.known.iter_mut().filter(|known| known.name == name).for_each(|known| known.bound = bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::of_text;
    use crate::snapshot::{Crowded, Registry, Resolved, Snapshot, compile};

    /// Listeners, each a name and an address, from one configuration to the next.
    struct Course {
        registry: Registry,
        epoch: u64,
        now: Snapshot,
    }

    fn try_compile(registry: &mut Registry, epoch: u64, listeners: &[(&str, &str)]) -> (config::Config, Snapshot) {
        let listeners: Vec<String> = (listeners.iter())
            .map(|(name, address)| format!("{name}: {{ address: '{address}', limits: {{ connections: 2 }} }}"))
            .collect();
        let routes = "routes: [{ name: all, respond: { status: 200 } }]";
        let config = of_text(&format!("version: 1\nlisteners: {{ {} }}\n{routes}\n", listeners.join(", ")));
        let snapshot = compile(&config, epoch, registry, &Resolved::new()).expect("it compiles");
        (config, snapshot)
    }

    impl Course {
        fn begin(listeners: &[(&str, &str)]) -> Self {
            let mut registry = Registry::new(1);
            let (config, now) = try_compile(&mut registry, 1, listeners);
            registry.on_publishing(&now, &config, 1);
            Self { registry, epoch: 1, now }
        }

        fn goes_on(&mut self, listeners: &[(&str, &str)]) {
            self.epoch += 1;
            let (config, next) = try_compile(&mut self.registry, self.epoch, listeners);
            self.registry.on_publishing(&next, &config, self.epoch);
            self.now = next;
        }

        fn entrance(&self, name: &str) -> Entrance {
            self.now.entrance(name).expect("a listener")
        }

        /// The listener that whoever came in there is served by.
        fn serves(&self, entrance: Entrance) -> Option<&str> {
            self.now.listener(entrance).map(|listener| listener.name.as_str())
        }
    }

    const ONE: &str = "127.0.0.1:81";
    const TWO: &str = "127.0.0.1:82";
    const THREE: &str = "127.0.0.1:83";

    #[test]
    fn a_listener_is_followed_from_name_to_name_and_from_address_to_address() {
        for steps in [
            // Renamed, then moved, and the other way round.
            &[("b", ONE), ("b", TWO)][..],
            &[("a", TWO), ("b", TWO)],
            &[("b", ONE), ("b", TWO), ("c", TWO), ("c", THREE)],
            &[("a", TWO), ("b", TWO), ("b", "0.0.0.0:82"), ("a", "0.0.0.0:82"), ("a", ONE)],
        ] {
            let mut course = Course::begin(&[("a", ONE)]);
            let entrance = course.entrance("a");
            for (name, address) in steps {
                course.goes_on(&[(name, address)]);
                assert_eq!(course.serves(entrance), Some(*name), "{steps:?}");
                assert_eq!(course.entrance(name), entrance, "{steps:?}");
            }
            // With both at once it is another one.
            course.goes_on(&[("z", "127.0.0.1:99")]);
            assert_eq!(course.serves(entrance), None, "{steps:?}");
            assert_ne!(course.entrance("z"), entrance);
        }
    }

    #[test]
    fn whoever_came_in_at_an_address_stays_there_when_names_are_swapped() {
        let mut course = Course::begin(&[("a", ONE), ("b", TWO)]);
        let [one, two] = ["a", "b"].map(|name| course.entrance(name));
        for _ in 0..3 {
            course.goes_on(&[("b", ONE), ("a", TWO)]);
            assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("b"), Some("a")]);
            course.goes_on(&[("a", ONE), ("b", TWO)]);
            assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("a"), Some("b")]);
        }
        // One takes the address of the other, which moves away: its sockets, and whoever came by them, stay there.
        course.goes_on(&[("a", TWO), ("b", THREE)]);
        assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("a"), Some("a")]);
        assert_eq!(course.entrance("a"), two);
        assert!(![one, two].contains(&course.entrance("b")));
    }

    #[test]
    fn listeners_that_became_one_are_no_more_told_apart() {
        let mut course = Course::begin(&[("a", ONE), ("b", TWO)]);
        let entrances = ["a", "b"].map(|name| course.entrance(name));
        for steps in [[("a", TWO)], [("c", TWO)], [("c", THREE)]] {
            course.goes_on(&steps);
            assert_eq!(entrances.map(|entrance| course.serves(entrance)), [Some(steps[0].0); 2]);
            assert_eq!(course.entrance(steps[0].0), entrances[1], "that of its sockets");
        }
    }

    #[test]
    fn a_listener_that_comes_back_finds_its_connections() {
        let mut course = Course::begin(&[("a", ONE), ("b", TWO)]);
        let gone = course.entrance("b");
        course.goes_on(&[("a", ONE)]);
        assert_eq!(course.serves(gone), None);
        course.goes_on(&[("a", ONE), ("b", THREE)]);
        assert_eq!((course.serves(gone), course.entrance("b")), (Some("b"), gone));
        // As many as that are remembered, and those of sockets whatever comes.
        let kept = course.entrance("a");
        for number in 0..=limits::FORMER_ENTRANCES {
            let (name, address) = (format!("x{number}"), format!("127.0.0.1:{}", 1000 + number));
            course.goes_on(&[("a", ONE), (name.as_str(), address.as_str())]);
        }
        course.goes_on(&[("b", THREE), ("c", ONE)]);
        assert_eq!((course.serves(gone), course.serves(kept)), (None, Some("c")));
    }

    #[test]
    fn a_chosen_port_is_known_once_it_is_bound() {
        const ANY: &str = "127.0.0.1:0";
        let mut course = Course::begin(&[("a", ANY), ("b", ANY)]);
        course.registry.on_bound("a", ONE.parse().expect("an address"));
        course.registry.on_bound("b", TWO.parse().expect("an address"));
        let [one, two] = ["a", "b"].map(|name| course.entrance(name));
        course.goes_on(&[("a", ANY), ("b", ANY)]);
        assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("a"), Some("b")]);
        // Told by now, and by another name, which keeps its sockets.
        course.goes_on(&[("c", ONE), ("b", ANY)]);
        assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("c"), Some("b")]);
        course.goes_on(&[("c", ANY), ("d", ANY)]);
        assert_eq!([one, two].map(|entrance| course.serves(entrance)), [Some("c"), None]);
    }

    #[test]
    fn what_was_compiled_and_not_published_leads_nobody_astray() {
        let mut course = Course::begin(&[("a", ONE)]);
        let entrance = course.entrance("a");
        let (_, candidate) = try_compile(&mut course.registry, 2, &[("b", ONE), ("a", TWO)]);
        assert_eq!(candidate.listener(entrance).map(|listener| &*listener.name), Some("b"));
        course.goes_on(&[("a", TWO)]);
        assert_eq!(course.serves(entrance), Some("a"));
    }

    #[test]
    fn callers_are_handed_down() {
        let mut course = Course::begin(&[("a", ONE)]);
        let enter = |course: &Course| course.now.listeners[0].callers.try_enter(2);
        let held = [enter(&course), enter(&course)];
        for step in [("b", ONE), ("b", TWO), ("c", TWO)] {
            course.goes_on(&[step]);
            assert_eq!(enter(&course).map(drop), Err(Crowded::Listener), "{step:?}");
        }
        // Also where it is gone meanwhile.
        course.goes_on(&[("z", "127.0.0.1:99")]);
        assert_eq!(enter(&course).map(drop), Ok(()));
        course.goes_on(&[("c", ONE)]);
        assert_eq!(enter(&course).map(drop), Err(Crowded::Listener));
        drop(held);
        assert_eq!(enter(&course).map(drop), Ok(()));
    }
}
