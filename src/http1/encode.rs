//! Writing heads: the parts that requests and responses share.

use super::fields::Field;

/// Appends lines as they are.
#[inline]
pub(super) fn push_all(out: &mut Vec<u8>, lines: &[&[u8]]) {
    for lines in lines {
        out.extend_from_slice(lines);
    }
}

/// Appends `name: value` and CR LF.
#[inline]
pub(super) fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends `number` in decimal.
#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An identity as logs and fields show it: lower-case hexadecimal digits.
#[must_use]
pub fn id_text(id: &[u8; 16]) -> [u8; 32] {
    let mut text = [0; 32];
    write_hex(&mut text, id);
    text
}

/// Writes two digits for each byte.
#[inline]
pub(super) fn write_hex(out: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = PAIRS[usize::from(*byte)];
    }
}

pub(super) const HEX: &[u8; 16] = b"0123456789abcdef";
/// The two digits of every byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [HEX[byte >> 4], HEX[byte & 0xf]];
        byte += 1;
    }
    pairs
};

/// Appends a Content-Length line.
#[inline]
pub(super) fn push_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    push_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends the field lines that `keeps` keeps, in their order (RFC 9110 section 5.3).
///
/// Neighbours that are written as we write lines (one space, nothing behind the value) are copied together; others
/// are written anew, so that the upstream sees no unusual white space.
#[inline]
pub(super) fn push_fields(out: &mut Vec<u8>, bytes: &[u8], fields: &[Field], keeps: impl Fn(&Field) -> bool) {
    let (mut start, mut end) = (0, 0);
    for field in fields {
        if !keeps(field) {
            continue;
        }
        let (name, value) = (field.name, field.value);
        let is_plain =
            value.start == name.end + 2 && bytes[value.end as usize] == b'\r' && bytes[name.end as usize + 1] == b' ';
        if is_plain && name.start as usize == end {
            end = value.end as usize + 2;
            continue;
        }
        out.extend_from_slice(&bytes[start..end]);
        if is_plain {
            (start, end) = (name.start as usize, value.end as usize + 2);
        } else {
            (start, end) = (0, 0);
            push_line(out, name.of(bytes), value.of(bytes));
        }
    }
    out.extend_from_slice(&bytes[start..end]);
}

/// Whether `value` may serve as a request id: 1 to 128 letters, digits and `. _ ~ : / + = @ -`.
///
/// That holds UUIDs, ULIDs, trace ids, base64 and what load balancers send, and nothing that could break a log
/// line, a field or a page.
#[must_use]
pub fn is_valid_request_id(value: &[u8]) -> bool {
    (1..=super::REQUEST_ID_BYTES).contains(&value.len())
        && value.iter().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b':' | b'/' | b'+' | b'=' | b'@' | b'-')
        })
}
