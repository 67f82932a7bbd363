//! Offsets into the bytes that were parsed.

/// A range of the buffer that was parsed, as offsets from its first byte.
///
/// Offsets stay right when the buffer is moved, so a head can outlive the borrow of its bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The span of `start..end`, offsets in bytes.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "a head is at most HEADER_BYTES_MAX long, asserted below")]
    pub(super) const fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// Where `part`, a slice of `whole`, lies in it.
    #[inline]
    pub(super) fn within(whole: &[u8], part: &[u8]) -> Self {
        let start = part.as_ptr().addr() - whole.as_ptr().addr();
        Self::new(start, start + part.len())
    }

    /// The bytes of this span in `bytes`, the buffer that was parsed.
    #[inline]
    #[must_use]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// Length in bytes.
    #[inline]
    #[must_use]
    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte is in it.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

const _: () = assert!(crate::limits::HEADER_BYTES_MAX <= u32::MAX as usize);
