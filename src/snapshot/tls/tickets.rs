//! The keys of session tickets: those that workers seal with, and those of the period before.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use super::TlsError;
use crate::limits;

/// Seals tickets with one key and opens those of it and of the key before; it never changes, another takes its place.
#[derive(Debug)]
pub(super) struct Tickets {
    /// The library turns keys of its own over as well, after as long as these are sealed with.
    current: Arc<dyn ProducesTickets>,
    previous: Option<Arc<dyn ProducesTickets>>,
}

impl Tickets {
    /// A key that nobody has a ticket of.
    pub(super) fn new() -> Result<Self, TlsError> {
        Ok(Self { current: Ticketer::new()?, previous: None })
    }

    /// Those of the next period: a new key seals, this one still opens, and the one before it is gone.
    pub(super) fn turned(&self) -> Result<Self, TlsError> {
        Ok(Self { current: Ticketer::new()?, previous: Some(Arc::clone(&self.current)) })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    /// Seconds for which the youngest ticket can be opened.
    fn lifetime(&self) -> u32 {
        limits::TICKET_PERIOD_S * 2
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current.decrypt(cipher).or_else(|| self.previous.as_ref()?.decrypt(cipher))
    }
}
