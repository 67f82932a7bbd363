//! An endpoint of HTTP/2 whose every frame a test writes itself, right or wrong.

use std::ops::{Deref, DerefMut};

use super::endpoint::{Accepted, Endpoint};
use super::h2_wire::{DATA, END_HEADERS, END_STREAM, GOAWAY, H2Wire, HEADERS, PREFACE, block, frame_of, settings};

/// A connection of the gateway.
#[derive(Debug)]
pub(crate) struct H2Peer(H2Wire);

impl H2Peer {
    /// Accepts the gateway's next connection and exchanges settings.
    pub(crate) fn accepts(endpoint: &Endpoint) -> Self {
        Self::accepts_with(endpoint, &[])
    }

    /// The same with these settings.
    pub(crate) fn accepts_with(endpoint: &Endpoint, values: &[(u16, u32)]) -> Self {
        Self::over(endpoint.accepts(), values)
    }

    /// The same on a connection that is accepted already, and perhaps secured.
    pub(crate) fn over(accepted: Accepted, values: &[(u16, u32)]) -> Self {
        let mut wire = accepted.into_wire();
        assert_eq!(wire.reads(PREFACE.len()), PREFACE, "RFC 9113 section 3.4");
        let mut peer = H2Wire::over_begun(wire);
        peer.sends(settings(values));
        peer.settles();
        Self(peer)
    }

    /// Waits for the next field section: the stream that it is of.
    pub(crate) fn expects_request(&mut self) -> u32 {
        self.0.expects(HEADERS).stream
    }

    /// Closes the connection.
    pub(crate) fn closes(self) {
        self.0.closes();
    }

    /// Answers with status 200 and this content.
    pub(crate) fn replies_with(&mut self, stream: u32, content: &str) {
        self.sends(head(stream, 0, &[(":status", "200")]));
        self.sends(frame_of(DATA, END_STREAM, stream, content.as_bytes()));
    }
}

impl Deref for H2Peer {
    type Target = H2Wire;

    fn deref(&self) -> &H2Wire {
        &self.0
    }
}

impl DerefMut for H2Peer {
    fn deref_mut(&mut self) -> &mut H2Wire {
        &mut self.0
    }
}

/// A field section of a response.
pub(crate) fn head(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame_of(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

/// Word that streams above `last` are left undone.
pub(crate) fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame_of(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}
