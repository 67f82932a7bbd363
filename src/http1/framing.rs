//! Where a message ends: Content-Length and Transfer-Encoding (RFC 9112 section 6).

use super::error::HeadError;
use super::fields::is_token;
use super::method::Version;

/// How the end of a body is found (RFC 9112 section 6.3).
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum BodyLength {
    /// There is no body and no field speaks of one.
    #[default]
    None,
    /// So many bytes, none if the sender said 0.
    Exact(u64),
    /// In chunks, up to the last chunk.
    Chunked,
    /// Up to the end of the connection: responses only.
    UntilClose,
}

/// Told the framing fields of one head in turn.
///
/// | Content-Length | Transfer-Encoding | version | verdict |
/// |---|---|---|---|
/// | none | none | any | no framing |
/// | one number | none | any | that length |
/// | several lines or a list | none | any | refused; in a response collapsed if all are equal |
/// | none | `chunked`, once, alone | 1.1 | chunked |
/// | none | another coding | 1.1 | refused with 501 |
/// | none | `chunked` twice or not last, empty, not a token | 1.1 | refused |
/// | any | any | 1.1 | refused |
/// | any | any | 1.0 | refused |
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Framing {
    length: Option<u64>,
    encoded: bool,
    chunked: bool,
    unknown_coding: bool,
    /// Equal lengths count as one.
    collapse: bool,
}

impl Framing {
    /// For a response, where equal lengths count as one.
    pub(super) fn of_response() -> Self {
        Self { collapse: true, ..Self::default() }
    }

    /// Told the value of a Content-Length line.
    #[inline]
    pub(super) fn try_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        // RFC 9112 section 6.3: a list of equal numbers may be taken for one of them, others are an error.
        for element in value.split(|&byte| byte == b',') {
            let length = parse_length(element.trim_ascii())?;
            if self.length.is_some_and(|seen| !self.collapse || seen != length) {
                return Err(HeadError::RepeatedContentLength);
            }
            self.length = Some(length);
        }
        Ok(())
    }

    /// Told the value of a Transfer-Encoding line.
    pub(super) fn try_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.encoded = true;
        for coding in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            // RFC 9112 section 6.1: chunked is applied once and last.
            if self.chunked || !is_token(coding) {
                return Err(HeadError::InvalidTransferEncoding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.unknown_coding = true;
            }
        }
        Ok(())
    }

    /// The length of the body by its fields alone, none without any.
    #[inline]
    pub(super) fn try_body(&self, version: Version) -> Result<Option<BodyLength>, HeadError> {
        if !self.encoded {
            return Ok(self.length.map(BodyLength::Exact));
        }
        // RFC 9112 section 6.1: the framing of an HTTP/1.0 message with Transfer-Encoding is faulty.
        if version == Version::Http10 {
            return Err(HeadError::TransferEncodingOnHttp10);
        }
        // RFC 9112 section 6.1: both together may be an attempt at smuggling, and may be rejected.
        if self.length.is_some() {
            return Err(HeadError::ContentLengthWithTransferEncoding);
        }
        // RFC 9112 section 6.1: a coding that is not understood is answered with 501.
        if self.unknown_coding {
            return Err(HeadError::UnknownTransferCoding);
        }
        Ok(Some(BodyLength::Chunked))
    }

    /// The Content-Length, whether or not there is a body.
    pub(super) const fn length(&self) -> Option<u64> {
        self.length
    }
}

/// `1*DIGIT` (RFC 9110 section 8.6) that fits 64 bits: no sign, no white space, no overflow.
fn parse_length(digits: &[u8]) -> Result<u64, HeadError> {
    parse_digits(digits).ok_or(HeadError::InvalidContentLength)
}

/// `1*DIGIT` that fits 64 bits.
#[inline]
pub(super) fn parse_digits(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_u64;
    for &byte in digits {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    Some(number)
}

#[cfg(test)]
mod tests;
