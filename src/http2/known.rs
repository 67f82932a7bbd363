//! Heads of requests that mostly say what an earlier one said: only what differs is read.
//!
//! What goes to endpoints repeats nearly all of its lines, but for an identity or a time. Which lines do is found by comparing
//! all of them, byte by byte, so that whatever is decoded says what its own head says.

use bytes::Bytes;

use super::decode_request::{RequestStart, decode, put_line};
use super::field::{self, Extent, Head};
use crate::http1::{FieldKind, HeadError};

/// Decodes heads as [`super::decode_request_head`] does, and knows some that it has decoded, one for each number of lines: some
/// 50 KiB.
#[derive(Default)]
pub struct KnownRequests([Option<Box<Place>>; PLACES]);

const PLACES: usize = 16;
/// Bytes of a head that is worth a place.
const BYTES: usize = 2048;

struct Place {
    head: Head,
    is_secure: bool,
    start: RequestStart,
    /// Was the last head with so many lines another one? The second time it takes the place: heads that take turns would only
    /// pay for it.
    is_doubted: bool,
}

impl KnownRequests {
    /// Takes the head at the front of `bytes` apart, by what is known of one that differs in some values, where there is one.
    ///
    /// # Errors
    /// As those of [`super::decode_request_head`].
    pub fn decode(&mut self, bytes: &[u8], is_secure: bool) -> Result<RequestStart, HeadError> {
        let extent = Extent::of(bytes).ok_or(HeadError::InvalidRequestLine)?;
        let place = &mut self.0[extent.lines() % PLACES];
        if let Some(known) = place {
            if let Some(start) = known.try_repeat(bytes, &extent, is_secure) {
                known.is_doubted = false;
                return Ok(start);
            }
            if !std::mem::replace(&mut known.is_doubted, true) {
                return decode(&Head::copy(bytes, extent), is_secure);
            }
        }
        let head = Head::copy(bytes, extent);
        let start = decode(&head, is_secure)?;
        let fields = start.request.headers();
        // A value of several is not told from the others by its name.
        let is_plain = fields.keys_len() == fields.len();
        if is_plain && head.extent.end() <= BYTES && head.extent.lines() <= field::LINES_KEPT {
            *place = Some(Box::new(Place { head, is_secure, start: start.clone(), is_doubted: false }));
        }
        Ok(start)
    }
}

impl Place {
    /// What a head says that has the same lines as this one, but for some values.
    fn try_repeat(&self, bytes: &[u8], extent: &Extent, is_secure: bool) -> Option<RequestStart> {
        if extent.lines() != self.head.extent.lines() || is_secure != self.is_secure {
            return None;
        }
        // All names before the first value: what is another head costs no copy of this one.
        let mut others = 0_u64;
        let known_lines = self.head.extent.lines_of(&self.head.bytes);
        for (number, (line, known)) in extent.lines_of(bytes).zip(known_lines).enumerate() {
            let (line, known) = (line?, known?);
            if line != known {
                if number > 0 && field::parts(line)?.0 != field::parts(known)?.0 {
                    return None;
                }
                others |= 1 << number;
            }
        }
        let mut start = self.start.clone();
        start.used = extent.used();
        for (number, line) in extent.lines_of(bytes).enumerate() {
            match others & 1 << number {
                0 => {}
                1 => {
                    let authority = start.request.uri().authority()?.clone();
                    put_line(&mut start.request, &Bytes::copy_from_slice(line?), authority, is_secure).ok()?;
                }
                _ => replace(&mut start, line?)?,
            }
        }
        Some(start)
    }
}

/// Takes the value of `line` for that of the same name; `None` if that says more than a value does.
fn replace(start: &mut RequestStart, line: &[u8]) -> Option<()> {
    let (name, value) = field::parts(line)?;
    let kind = FieldKind::classify(name);
    if kind == FieldKind::Host || kind.is_hop() {
        return None;
    }
    let value = &line[value..];
    if kind == FieldKind::ContentLength {
        start.body = field::exact(value).ok()?;
    }
    let place = start.request.headers_mut().get_mut(field::header_name(kind, name).ok()?)?;
    *place = field::header_value(kind, Bytes::copy_from_slice(value)).ok()?;
    Some(())
}

#[cfg(test)]
mod tests;
