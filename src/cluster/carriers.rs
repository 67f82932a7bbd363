//! Connections of one worker that carry many requests at once, by endpoint: which one has a place for the next.

use super::EndpointId;

/// Such connections, those of an endpoint in the order they were opened.
///
/// Endpoint identities should be dense.
#[derive(Debug)]
pub struct Carriers<C> {
    /// By endpoint.
    endpoints: Vec<Berths<C>>,
}

#[derive(Debug)]
struct Berths<C> {
    carriers: Vec<C>,
    /// Did it turn out that each request needs a connection of its own?
    is_solitary: bool,
}

impl<C> Default for Carriers<C> {
    fn default() -> Self {
        Self { endpoints: Vec::new() }
    }
}

impl<C> Carriers<C> {
    /// The first connection to `endpoint` that suits: requests gather on few, so that the others come to rest.
    pub fn find(&self, endpoint: EndpointId, suits: impl Fn(&C) -> bool) -> Option<&C> {
        self.of(endpoint).iter().find(|carrier| suits(carrier))
    }

    /// All connections to `endpoint`.
    pub fn of(&self, endpoint: EndpointId) -> &[C] {
        self.endpoints.get(endpoint.0 as usize).map_or(&[], |berths| &berths.carriers)
    }

    /// All connections to any endpoint.
    pub fn all(&self) -> impl Iterator<Item = &C> {
        self.endpoints.iter().flat_map(|berths| &berths.carriers)
    }

    /// Does each request to `endpoint` need a connection of its own, as far as is known?
    pub fn is_solitary(&self, endpoint: EndpointId) -> bool {
        self.endpoints.get(endpoint.0 as usize).is_some_and(|berths| berths.is_solitary)
    }

    /// Told whether each request to `endpoint` needs a connection of its own.
    pub fn on_solitary(&mut self, endpoint: EndpointId, is_solitary: bool) {
        self.berths(endpoint).is_solitary = is_solitary;
    }

    /// Takes a connection to `endpoint` in.
    pub fn on_begun(&mut self, endpoint: EndpointId, carrier: C) {
        self.berths(endpoint).carriers.push(carrier);
    }

    /// Hands those connections to `endpoint` back that have ended.
    pub fn on_ended(&mut self, endpoint: EndpointId, has_ended: impl Fn(&C) -> bool) -> Vec<C> {
        self.berths(endpoint).carriers.extract_if(.., |carrier| has_ended(carrier)).collect()
    }

    fn berths(&mut self, endpoint: EndpointId) -> &mut Berths<C> {
        let place = endpoint.0 as usize;
        if self.endpoints.len() <= place {
            self.endpoints.resize_with(place + 1, || Berths { carriers: Vec::new(), is_solitary: false });
        }
        &mut self.endpoints[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_that_suits_is_found() {
        let mut carriers = Carriers::default();
        for carrier in [3, 1, 2] {
            carriers.on_begun(EndpointId(5), carrier);
        }
        carriers.on_begun(EndpointId(0), 9);
        assert_eq!(carriers.find(EndpointId(5), |carrier| *carrier < 3), Some(&1));
        assert_eq!(carriers.find(EndpointId(5), |carrier| *carrier > 3), None);
        assert_eq!(carriers.find(EndpointId(7), |_| true), None);
        assert_eq!(carriers.of(EndpointId(0)), [9]);
        assert_eq!(carriers.all().copied().collect::<Vec<_>>(), [9, 3, 1, 2]);
    }

    #[test]
    fn what_was_agreed_on_is_remembered_until_something_else_is() {
        let mut carriers: Carriers<u8> = Carriers::default();
        assert!(!carriers.is_solitary(EndpointId(3)));
        carriers.on_solitary(EndpointId(3), true);
        assert!(carriers.is_solitary(EndpointId(3)) && !carriers.is_solitary(EndpointId(2)));
        carriers.on_solitary(EndpointId(3), false);
        assert!(!carriers.is_solitary(EndpointId(3)));
    }

    #[test]
    fn what_has_ended_is_handed_back_once() {
        let mut carriers = Carriers::default();
        let endpoint = EndpointId(1);
        carriers.on_begun(endpoint, 1);
        carriers.on_begun(endpoint, 2);
        assert_eq!(carriers.on_ended(endpoint, |carrier| *carrier == 1), [1]);
        assert_eq!(carriers.on_ended(endpoint, |carrier| *carrier == 1), [0; 0]);
        assert_eq!(carriers.on_ended(endpoint, |_| true), [2]);
        assert_eq!(carriers.of(endpoint).len(), 0);
    }
}
