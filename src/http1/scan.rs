//! The bridge to `httparse`: when to call it, what it leaves unchecked, why it refused.

use super::Progress;
use super::error::HeadError;
use super::fields::{FORWARDING, Field, FieldKind, HOP, is_token_byte};
use super::span::Span;
use crate::limits::LEADING_EMPTY_LINES;
use core::mem::MaybeUninit;

/// Field lines that are parsed on the stack; a head with more takes an allocation, if it may have more.
pub(super) const SLOTS: usize = 128;

/// A place for one field of `httparse`.
pub(super) type Slot<'b> = MaybeUninit<httparse::Header<'b>>;

/// How far the search for the end of a head has come, all offsets from the first byte of the message.
///
/// A head that arrives in one piece is parsed at once. Of one that arrives in pieces only the new bytes are
/// searched, and it is parsed when it ends or has doubled, so that the work stays linear in its length.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Scan {
    searched: usize,
    line_start: usize,
    attempted: usize,
}

impl Scan {
    /// Whether the head, which begins at `start`, is worth parsing now.
    #[inline]
    pub(super) fn try_due(&mut self, window: &[u8], start: usize) -> Result<bool, HeadError> {
        if self.attempted == 0 {
            return Ok(true);
        }
        Ok(self.try_search(window, start)? || window.len() / 2 >= self.attempted)
    }

    /// Told that `window` was parsed without reaching the end of the head.
    pub(super) fn on_partial(&mut self, window: &[u8], start: usize) -> Result<Progress, HeadError> {
        self.attempted = window.len();
        self.try_search(window, start)?;
        Ok(Progress::Partial)
    }

    /// Whether the first line has not ended within `line_max` bytes.
    pub(super) const fn line_exceeds(&self, window: &[u8], start: usize, line_max: usize) -> bool {
        // One byte more may be the CR of the line end.
        self.line_start <= start && window.len() - start > line_max + 1
    }

    /// Searches what is new in `window` for the empty line, refusing lines that end with LF alone.
    fn try_search(&mut self, window: &[u8], start: usize) -> Result<bool, HeadError> {
        let from = self.searched.max(start);
        self.line_start = self.line_start.max(start);
        for offset in memchr::memchr_iter(b'\n', &window[from..]) {
            let at = from + offset;
            // RFC 9112 section 2.2 lets a recipient take LF alone for a line end; we do not.
            if at == self.line_start || window[at - 1] != b'\r' {
                return Err(HeadError::BareLf);
            }
            if at == self.line_start + 1 {
                self.searched = at;
                return Ok(true);
            }
            self.line_start = at + 1;
        }
        self.searched = window.len();
        Ok(false)
    }
}

/// Where the request line begins, or nothing when only (a part of) empty lines has arrived.
///
/// RFC 9112 section 2.2: at least one empty line before the request line is ignored.
#[inline]
pub(super) fn skip_empty_lines(window: &[u8]) -> Result<Option<usize>, HeadError> {
    let mut at = 0;
    loop {
        match window[at..] {
            [] | [b'\r'] => return Ok(None),
            [b'\r', b'\n', ..] if at / 2 == LEADING_EMPTY_LINES => return Err(HeadError::TooManyEmptyLines),
            [b'\r', b'\n', ..] => at += 2,
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            _ => return Ok(Some(at)),
        }
    }
}

/// Appends the parsed `headers` of `window` to `fields`, refusing lines that end with LF alone.
#[inline]
pub(super) fn record_fields(
    window: &[u8],
    headers: &[httparse::Header<'_>],
    fields: &mut Vec<Field>,
) -> Result<(), HeadError> {
    fields.clear();
    fields.reserve(headers.len());
    for header in headers {
        let value = Span::within(window, header.value);
        let mut line_end = value.end as usize;
        while matches!(window[line_end], b' ' | b'\t') {
            line_end += 1;
        }
        if window[line_end] != b'\r' {
            return Err(HeadError::BareLf);
        }
        let name = header.name.as_bytes();
        let kind = FieldKind::classify(name);
        // `X_Real_IP` and the like look the same as our own field to some upstreams, so nobody may send them.
        let hop = HOP.contains(kind) || (FORWARDING.contains(kind) && name.contains(&b'_'));
        fields.push(Field { name: Span::within(window, name), value, kind, hop });
    }
    Ok(())
}

/// Why `httparse` refused the head that begins at `start`.
#[cold]
pub(super) fn diagnose(window: &[u8], start: usize, error: httparse::Error) -> HeadError {
    let rest = &window[start..];
    let head = memchr::memmem::find(rest, b"\r\n\r\n").map_or(rest, |end| &rest[..end + 4]);
    match error {
        httparse::Error::Token => diagnose_token(head),
        httparse::Error::Version => diagnose_version(head),
        httparse::Error::Status => HeadError::InvalidStatusLine,
        httparse::Error::TooManyHeaders => HeadError::TooManyFields,
        httparse::Error::HeaderName => diagnose_name(head),
        httparse::Error::HeaderValue if has_bare_cr(head) => HeadError::BareCr,
        httparse::Error::HeaderValue => HeadError::InvalidFieldValue,
        httparse::Error::NewLine if has_bare_cr(head) => HeadError::BareCr,
        httparse::Error::NewLine => HeadError::InvalidRequestLine,
    }
}

/// Whether a CR in `head` is followed by something other than LF.
fn has_bare_cr(head: &[u8]) -> bool {
    head.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
}

/// What is wrong with the method or the target.
fn diagnose_token(head: &[u8]) -> HeadError {
    let method = head.iter().take_while(|&&byte| is_token_byte(byte)).count();
    let Some(b' ') = head.get(method).filter(|_| method > 0) else { return HeadError::InvalidMethod };
    let target = &head[method + 1..];
    match target.iter().find(|&&byte| !(0x21..=0x7e).contains(&byte)) {
        // Two spaces, or a line without a version (HTTP/0.9).
        Some(b' ' | b'\r' | b'\n') if target.is_ascii() => HeadError::InvalidRequestLine,
        _ => HeadError::InvalidTarget,
    }
}

/// Whether there is a version, but none of ours (RFC 9110 section 6.2), or no version at all.
fn diagnose_version(head: &[u8]) -> HeadError {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or(head);
    let version = match line.split(|&byte| byte == b' ').nth(2) {
        Some(version) if !line.starts_with(b"HTTP/") => version,
        _ => line,
    };
    match version.strip_prefix(b"HTTP/") {
        Some([major, ..]) if major.is_ascii_digit() => HeadError::UnsupportedVersion,
        _ if line.starts_with(b"HTTP") => HeadError::InvalidStatusLine,
        _ => HeadError::InvalidRequestLine,
    }
}

/// What is wrong with the first bad field name.
fn diagnose_name(head: &[u8]) -> HeadError {
    for (index, line) in head.split(|&byte| byte == b'\n').enumerate().skip(1) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let name = line.iter().take_while(|&&byte| is_token_byte(byte)).count();
        match line.get(name) {
            Some(b':') if name > 0 => {}
            // RFC 9112 section 2.2: white space between the start line and the first field.
            Some(b' ' | b'\t') if name == 0 && index == 1 => return HeadError::WhitespaceBeforeFields,
            // RFC 9112 section 5.2: a line that continues the value before it.
            Some(b' ' | b'\t') if name == 0 => return HeadError::ObsoleteFold,
            // RFC 9112 section 5.1: no white space is allowed between the name and the colon.
            Some(b' ' | b'\t') if line[name..].trim_ascii_start().starts_with(b":") => {
                return HeadError::WhitespaceBeforeColon;
            }
            Some(_) if !line.contains(&b':') => return HeadError::MissingColon,
            None if name > 0 => return HeadError::MissingColon,
            Some(_) => return HeadError::InvalidFieldName,
            None => {}
        }
    }
    HeadError::InvalidFieldName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_in_pieces_is_parsed_when_it_has_doubled_or_ended_and_not_before() {
        let head = b"GET / HTTP/1.1\r\nHost: a\r\nA: bbbbbbbbbbbbbbbbbbbb\r\n\r\n";
        let mut scan = Scan::default();
        assert_eq!(scan.try_due(&head[..10], 0), Ok(true));
        assert_eq!(scan.on_partial(&head[..10], 0), Ok(Progress::Partial));
        assert_eq!((scan.try_due(&head[..19], 0), scan.try_due(&head[..20], 0)), (Ok(false), Ok(true)));
        scan.on_partial(&head[..30], 0).unwrap();
        assert_eq!(scan.searched, 30);
        assert_eq!((scan.try_due(&head[..head.len() - 1], 0), scan.try_due(head, 0)), (Ok(false), Ok(true)));
    }
}
