//! The head of a response: status line and fields, parsed in place.

use super::connection::{self, Options};
use super::error::HeadError;
use super::fields::{self, Field, FieldKind, list};
use super::framing::{BodyLength, Framing, parse_digits};
use super::method::{Method, Version};
use super::scan::{self, SLOTS, Scan, Slot};
use super::span::Span;
use super::{HeadLimits, Progress};
use core::mem::MaybeUninit;

/// A response head: offsets into the buffer that was parsed.
///
/// It is reused from message to message and allocates nothing once it is warm. Getters hold what the last
/// `parse` that returned `Complete` found; those that take `bytes` want the buffer that was parsed.
#[derive(Debug, Default)]
pub struct ResponseHead {
    scan: Scan,
    fields: Vec<Field>,
    line: Line,
    meaning: Meaning,
}

/// What the status line says.
#[derive(Copy, Clone, Debug, Default)]
struct Line {
    head_bytes: usize,
    version: Version,
    status: u16,
    reason: Span,
}

/// What the fields say.
#[derive(Copy, Clone, Debug, Default)]
struct Meaning {
    body: BodyLength,
    length: Option<u64>,
    keep_alive: bool,
    keep_alive_timeout: Option<u64>,
    has_date: bool,
}

impl ResponseHead {
    /// An empty head that has allocated nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the message, keeps the storage.
    pub fn clear(&mut self) {
        self.scan = Scan::default();
        self.fields.clear();
        self.line = Line::default();
        self.meaning = Meaning::default();
    }

    /// Parses all that has been received of the response to a request of `request_method`, from its first byte.
    ///
    /// After `Partial` it is called again with more bytes behind the same ones; the work is linear in the length
    /// of the head however it is split. After `Complete` or an error `clear` comes first. Errors: every reason that
    /// concerns responses (RFC 9112 sections 4 to 6); each makes the response unusable.
    pub fn parse(&mut self, bytes: &[u8], limits: &HeadLimits, request_method: Method) -> Result<Progress, HeadError> {
        let window = limits.window(bytes);
        // RFC 9112 section 2.2 lets empty lines pass before a request line only.
        if matches!(window.first(), Some(b'\r' | b'\n')) {
            return Err(HeadError::InvalidStatusLine);
        }
        if window.is_empty() || !self.scan.try_due(window, 0)? {
            return limits.partial(bytes);
        }
        let mut slots: [Slot<'_>; SLOTS] = [const { MaybeUninit::uninit() }; SLOTS];
        let count = limits.slots().min(SLOTS);
        match self.try_parse(bytes, limits, request_method, &mut slots[..count]) {
            Err(HeadError::TooManyFields) if limits.count > SLOTS => {
                let mut slots = vec![MaybeUninit::uninit(); limits.slots()];
                self.try_parse(bytes, limits, request_method, &mut slots)
            }
            other => other,
        }
    }

    /// Parses the head with room for as many fields as there are `slots`.
    fn try_parse<'b>(
        &mut self,
        bytes: &'b [u8],
        limits: &HeadLimits,
        method: Method,
        slots: &mut [Slot<'b>],
    ) -> Result<Progress, HeadError> {
        let window = limits.window(bytes);
        let mut parsed = httparse::Response::new(&mut []);
        match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, window, slots) {
            Ok(httparse::Status::Complete(length)) => {
                self.on_parsed(&window[..length], method, &parsed)?;
                Ok(Progress::Complete)
            }
            Ok(httparse::Status::Partial) => {
                self.scan.on_partial(window, 0)?;
                limits.partial(bytes)
            }
            Err(error) => Err(scan::diagnose(window, 0, error)),
        }
    }

    /// Told what `httparse` found in `head`; checks what it leaves open.
    fn on_parsed(&mut self, head: &[u8], method: Method, parsed: &httparse::Response<'_, '_>) -> Result<(), HeadError> {
        // `HTTP/1.1 200` are twelve bytes; a space and the reason phrase follow, or the end of the line.
        let line_end = 12 + memchr::memchr(b'\n', &head[12..]).ok_or(HeadError::InvalidStatusLine)?;
        if head[line_end - 1] != b'\r' || head[head.len() - 2] != b'\r' {
            return Err(HeadError::BareLf);
        }
        let status = parsed.code.unwrap_or_default();
        // RFC 9110 section 15: codes are from 100 to 599, others are invalid.
        if !(100..=599).contains(&status) {
            return Err(HeadError::InvalidStatus);
        }
        scan::record_fields(head, parsed.headers, &mut self.fields)?;
        self.line = Line {
            head_bytes: head.len(),
            version: Version::of_minor(parsed.version),
            status,
            // RFC 9112 section 4: the reason phrase may be missing.
            reason: Span::new((line_end - 1).min(13), line_end - 1),
        };
        self.meaning = Meaning::try_read(head, &mut self.fields, method, &self.line)?;
        Ok(())
    }

    /// Bytes of the head, its final CR LF included.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a parsed head is never empty")]
    pub const fn len(&self) -> usize {
        self.line.head_bytes
    }

    /// The version that the upstream sent.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.line.version
    }

    /// The status code, 100 to 599.
    #[inline]
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.line.status
    }

    /// The reason phrase as received, perhaps empty.
    #[inline]
    #[must_use]
    pub fn reason<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.line.reason.of(bytes)
    }

    /// The field lines in their order.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// How the end of the body is found; `None` where there is no body whatever the fields say.
    #[inline]
    #[must_use]
    pub const fn body(&self) -> BodyLength {
        self.meaning.body
    }

    /// The Content-Length as received, also where there is no body.
    #[inline]
    #[must_use]
    pub const fn content_length(&self) -> Option<u64> {
        self.meaning.length
    }

    /// Whether the upstream lets the connection persist; never after a body that ends with the connection.
    #[inline]
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.meaning.keep_alive
    }

    /// Seconds of `Keep-Alive: timeout=`, after which the upstream may close an idle connection.
    #[inline]
    #[must_use]
    pub const fn keep_alive_timeout(&self) -> Option<u64> {
        self.meaning.keep_alive_timeout
    }

    /// Whether a further response follows to the same request: 1xx but 101, which ends HTTP on the connection.
    #[inline]
    #[must_use]
    pub const fn is_interim(&self) -> bool {
        self.line.status < 200 && self.line.status != 101
    }

    /// Whether there is a Date field.
    #[inline]
    #[must_use]
    pub const fn has_date(&self) -> bool {
        self.meaning.has_date
    }

    /// The first value of the field `name`, in lower case.
    #[must_use]
    pub fn field<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        fields::find_name(&self.fields, bytes, name)
    }

    /// The first value of a field of `kind`.
    #[must_use]
    pub fn find<'a>(&self, bytes: &'a [u8], kind: FieldKind) -> Option<&'a [u8]> {
        fields::find(&self.fields, bytes, kind)
    }

    /// Every connection option, for the trailers of the message (RFC 9110 section 7.6.1).
    pub fn connection_options<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        connection::options(&self.fields, bytes)
    }
}

impl Meaning {
    /// Reads the fields that a gateway acts upon, all of them before it acts (RFC 9110 section 5.3).
    fn try_read(bytes: &[u8], fields: &mut [Field], method: Method, line: &Line) -> Result<Self, HeadError> {
        let mut meaning = Self::default();
        let mut framing = Framing::of_response();
        let mut has_options = false;
        for field in fields.iter() {
            let value = field.value.of(bytes);
            #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields are only forwarded")]
            match field.kind {
                FieldKind::Connection => has_options = true,
                FieldKind::ContentLength => framing.try_length(value)?,
                FieldKind::TransferEncoding => framing.try_encoding(value)?,
                FieldKind::Date => meaning.has_date = true,
                FieldKind::KeepAlive => {
                    meaning.keep_alive_timeout = meaning.keep_alive_timeout.or_else(|| parse_timeout(value))
                }
                _ => {}
            }
        }
        let by_fields = framing.try_body(line.version)?;
        meaning.length = framing.length();
        // RFC 9112 section 6.3: without framing a response ends with the connection.
        meaning.body = if is_bodiless(method, line.status) {
            BodyLength::None
        } else {
            by_fields.unwrap_or(BodyLength::UntilClose)
        };
        let options = if has_options { Options::try_apply(bytes, fields)? } else { Options::default() };
        meaning.keep_alive = options.persists(line.version) && meaning.body != BodyLength::UntilClose;
        Ok(meaning)
    }
}

/// RFC 9112 section 6.3: what HEAD asks for, 1xx, 204, 304 and a successful CONNECT have no body whatever fields say.
const fn is_bodiless(method: Method, status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304)
        || matches!(method, Method::Head)
        || (matches!(method, Method::Connect) && status / 100 == 2)
}

/// Seconds of the `timeout` parameter of a Keep-Alive value.
fn parse_timeout(value: &[u8]) -> Option<u64> {
    list(value).find_map(|parameter| {
        let (name, seconds) = parameter.split_at_checked(8)?;
        name.eq_ignore_ascii_case(b"timeout=").then(|| parse_digits(seconds))?
    })
}

#[cfg(test)]
mod tests;
