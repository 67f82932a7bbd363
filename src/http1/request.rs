//! The head of a request: request line and fields, parsed in place.

use super::authority;
use super::connection::{self, Options};
use super::error::HeadError;
use super::fields::{self, Field, FieldKind, list};
use super::framing::{BodyLength, Framing, parse_digits};
use super::method::{Method, Version};
use super::scan::{self, SLOTS, Scan, Slot};
use super::span::Span;
use super::target::{PathForm, Target};
use super::{HeadLimits, METHOD_BYTES, Progress};
use core::mem::MaybeUninit;

/// A request head: offsets into the buffer that was parsed, and scratch for what had to be rewritten.
///
/// It is reused from message to message and allocates nothing once it is warm. Getters hold what the last
/// `parse` that returned `Complete` found; those that take `bytes` want the buffer that was parsed.
#[derive(Debug, Default)]
pub struct RequestHead {
    scan: Scan,
    fields: Vec<Field>,
    authority: Vec<u8>,
    path: Vec<u8>,
    line: Line,
    meaning: Meaning,
}

/// What the request line says.
#[derive(Copy, Clone, Debug)]
struct Line {
    head_bytes: usize,
    method: Method,
    method_name: Span,
    version: Version,
    target: Span,
    path: PathForm,
    query: Option<Span>,
    scheme: Option<&'static str>,
    host_bytes: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            head_bytes: 0,
            method: Method::default(),
            method_name: Span::default(),
            version: Version::default(),
            target: Span::default(),
            path: PathForm::Fixed(b""),
            query: None,
            scheme: None,
            host_bytes: 0,
        }
    }
}

/// What the fields say.
#[derive(Copy, Clone, Debug, Default)]
struct Meaning {
    body: BodyLength,
    keep_alive: bool,
    expects_continue: bool,
    accepts_trailers: bool,
    max_forwards: Option<u32>,
    host: Option<Span>,
}

impl RequestHead {
    /// An empty head that has allocated nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the message, keeps the storage.
    pub fn clear(&mut self) {
        self.scan = Scan::default();
        self.fields.clear();
        self.authority.clear();
        self.path.clear();
        self.line = Line::default();
        self.meaning = Meaning::default();
    }

    /// Parses all that has been received of a message, from its first byte.
    ///
    /// After `Partial` it is called again with more bytes behind the same ones; the work is linear in the length
    /// of the head however it is split. After `Complete` or an error `clear` comes first. Only a head with more
    /// than 128 field lines, where `limits` allows that, costs an allocation. Errors: every reason that concerns
    /// requests (RFC 9112 sections 2 to 6).
    pub fn parse(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Progress, HeadError> {
        let window = limits.window(bytes);
        let Some(start) = scan::skip_empty_lines(window)? else { return limits.partial(bytes) };
        if !self.scan.try_due(window, start)? {
            return self.on_partial(bytes, start, limits);
        }
        let mut slots: [Slot<'_>; SLOTS] = [const { MaybeUninit::uninit() }; SLOTS];
        let count = limits.slots().min(SLOTS);
        match self.try_parse(bytes, start, limits, &mut slots[..count]) {
            Err(HeadError::TooManyFields) if limits.count > SLOTS => {
                let mut slots = vec![MaybeUninit::uninit(); limits.slots()];
                self.try_parse(bytes, start, limits, &mut slots)
            }
            other => other,
        }
    }

    /// Parses the head that begins at `start`, with room for as many fields as there are `slots`.
    fn try_parse<'b>(
        &mut self,
        bytes: &'b [u8],
        start: usize,
        limits: &HeadLimits,
        slots: &mut [Slot<'b>],
    ) -> Result<Progress, HeadError> {
        let window = limits.window(bytes);
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(&window[start..], slots) {
            Ok(httparse::Status::Complete(length)) => {
                self.on_parsed(&window[..start + length], start, limits, &parsed)?;
                Ok(Progress::Complete)
            }
            Ok(httparse::Status::Partial) => {
                self.scan.on_partial(window, start)?;
                self.on_partial(bytes, start, limits)
            }
            Err(error) => Err(scan::diagnose(window, start, error)),
        }
    }

    /// Told that more bytes are needed.
    fn on_partial(&self, bytes: &[u8], start: usize, limits: &HeadLimits) -> Result<Progress, HeadError> {
        // RFC 9112 section 3: a target longer than the server wishes to parse is answered with 414.
        if self.scan.line_exceeds(limits.window(bytes), start, limits.line) {
            return Err(HeadError::RequestLineTooLong);
        }
        limits.partial(bytes)
    }

    /// Told what `httparse` found in `head`; checks what it leaves open.
    fn on_parsed(
        &mut self,
        head: &[u8],
        start: usize,
        limits: &HeadLimits,
        parsed: &httparse::Request<'_, '_>,
    ) -> Result<(), HeadError> {
        let name = parsed.method.unwrap_or_default().as_bytes();
        let target = Span::within(head, parsed.path.unwrap_or_default().as_bytes());
        // A space and the eight bytes of the version end the line, CR LF must follow.
        let line_end = target.end as usize + 9;
        if line_end - start > limits.line {
            return Err(HeadError::RequestLineTooLong);
        }
        if head[line_end] != b'\r' || head[head.len() - 2] != b'\r' {
            return Err(HeadError::BareLf);
        }
        // RFC 9112 section 3: a method longer than any that is implemented is answered with 501.
        if name.len() > METHOD_BYTES {
            return Err(HeadError::MethodTooLong);
        }
        scan::record_fields(head, parsed.headers, &mut self.fields)?;
        self.line.head_bytes = head.len();
        self.line.method = Method::classify(name);
        self.line.method_name = Span::within(head, name);
        self.line.version = Version::of_minor(parsed.version);
        self.line.target = target;
        self.meaning = Meaning::try_read(head, &mut self.fields, self.line.method, self.line.version)?;
        self.resolve(head)
    }

    /// Finds path and host from the target and the Host field.
    fn resolve(&mut self, head: &[u8]) -> Result<(), HeadError> {
        let target = Target::try_split(head, self.line.target, self.line.method, &mut self.path)?;
        self.line.path = target.path;
        self.line.query = target.query;
        self.line.scheme = target.scheme;
        self.authority.clear();
        match self.meaning.host {
            Some(host) => self.line.host_bytes = authority::normalise(host.of(head), &mut self.authority)?,
            // RFC 9112 section 3.2: a request of HTTP/1.1 without Host is answered with 400.
            None if self.line.version == Version::Http11 => return Err(HeadError::MissingHost),
            None => self.line.host_bytes = 0,
        }
        // RFC 9112 section 3.2.2: the host of the target replaces that of the Host field.
        if let Some(authority) = target.authority {
            self.authority.clear();
            self.line.host_bytes = authority::normalise(authority.of(head), &mut self.authority)?;
        }
        Ok(())
    }

    /// Bytes of the head, ignored empty lines before it and its final CR LF included.
    #[inline]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a parsed head is never empty")]
    pub const fn len(&self) -> usize {
        self.line.head_bytes
    }

    /// The method.
    #[inline]
    #[must_use]
    pub const fn method(&self) -> Method {
        self.line.method
    }

    /// The method's name as received.
    #[inline]
    #[must_use]
    pub fn method_name<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.line.method_name.of(bytes)
    }

    /// The version that the client sent.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.line.version
    }

    /// The field lines in their order.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The target as received.
    #[inline]
    #[must_use]
    pub fn target<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.line.target.of(bytes)
    }

    /// The path in its normal form without the query; `*` for `OPTIONS *`, empty for CONNECT.
    #[inline]
    #[must_use]
    pub fn path<'a>(&'a self, bytes: &'a [u8]) -> &'a [u8] {
        match self.line.path {
            PathForm::Received(span) => span.of(bytes),
            PathForm::Rewritten => &self.path,
            PathForm::Fixed(path) => path,
        }
    }

    /// The query without its question mark, as received; none if there was no question mark.
    #[inline]
    #[must_use]
    pub fn query<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.line.query.map(|query| query.of(bytes))
    }

    /// The scheme of an absolute-form target, `http` or `https`; none for every other form.
    #[inline]
    #[must_use]
    pub const fn scheme(&self) -> Option<&'static str> {
        self.line.scheme
    }

    /// The host in its normal form: lower case, no port, no trailing dot, an IPv6 literal in its brackets; empty
    /// for a request of HTTP/1.0 without Host.
    #[inline]
    #[must_use]
    pub fn host(&self) -> &[u8] {
        &self.authority[..self.line.host_bytes]
    }

    /// The host in its normal form with the port if there was one.
    #[inline]
    #[must_use]
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// How the end of the body is found: never `UntilClose` (RFC 9112 section 6.3).
    #[inline]
    #[must_use]
    pub const fn body(&self) -> BodyLength {
        self.meaning.body
    }

    /// Whether the client lets the connection persist (RFC 9112 section 9.3).
    #[inline]
    #[must_use]
    pub const fn keep_alive(&self) -> bool {
        self.meaning.keep_alive
    }

    /// Whether the client may wait for a 100 before it sends the body (RFC 9110 section 10.1.1).
    #[inline]
    #[must_use]
    pub const fn expects_continue(&self) -> bool {
        self.meaning.expects_continue
    }

    /// Whether the client said `TE: trailers` (RFC 9110 section 10.1.4).
    #[inline]
    #[must_use]
    pub const fn accepts_trailers(&self) -> bool {
        self.meaning.accepts_trailers
    }

    /// Max-Forwards of an OPTIONS or TRACE request; it means nothing for others (RFC 9110 section 7.6.2).
    #[inline]
    #[must_use]
    pub const fn max_forwards(&self) -> Option<u32> {
        self.meaning.max_forwards
    }

    /// The first value of the field `name`, in lower case.
    #[must_use]
    pub fn field<'a>(&self, bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
        fields::find_name(&self.fields, bytes, name)
    }

    /// The first value of a field of `kind`; spellings that are never forwarded (`X_Real_IP`) are passed over.
    #[must_use]
    pub fn find<'a>(&self, bytes: &'a [u8], kind: FieldKind) -> Option<&'a [u8]> {
        fields::find(&self.fields, bytes, kind)
    }

    /// The values of all lines of `kind` in their order, which are one list where the field is one (RFC 9110 section 5.3);
    /// spellings that are never forwarded (`X_Real_IP`) are passed over.
    pub fn all<'a>(&self, bytes: &'a [u8], kind: FieldKind) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        fields::all(&self.fields, bytes, kind)
    }

    /// Every connection option, for the trailers of the message (RFC 9110 section 7.6.1).
    pub fn connection_options<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        connection::options(&self.fields, bytes)
    }
}

impl Meaning {
    /// Reads the fields that a gateway acts upon, all of them before it acts (RFC 9110 section 5.3).
    fn try_read(bytes: &[u8], fields: &mut [Field], method: Method, version: Version) -> Result<Self, HeadError> {
        let mut meaning = Self::default();
        let mut framing = Framing::default();
        let mut has_options = false;
        for field in fields.iter() {
            if field.kind == FieldKind::Other {
                continue;
            }
            let value = field.value.of(bytes);
            #[expect(clippy::wildcard_enum_match_arm, reason = "all other fields are only forwarded")]
            match field.kind {
                // RFC 9112 section 3.2: more than one Host line is answered with 400, equal ones too.
                FieldKind::Host if meaning.host.is_some() => return Err(HeadError::RepeatedHost),
                FieldKind::Host => meaning.host = Some(field.value),
                FieldKind::Connection => has_options = true,
                FieldKind::ContentLength => framing.try_length(value)?,
                FieldKind::TransferEncoding => framing.try_encoding(value)?,
                FieldKind::Te => {
                    meaning.accepts_trailers |= list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
                }
                FieldKind::Expect => meaning.expects_continue |= try_expect(value, version)?,
                FieldKind::MaxForwards
                    if matches!(method, Method::Options | Method::Trace) && meaning.max_forwards.is_none() =>
                {
                    meaning.max_forwards = parse_digits(value).map(|hops| u32::try_from(hops).unwrap_or(u32::MAX));
                }
                _ => {}
            }
        }
        // RFC 9112 section 6.3: a request without framing has no body, whatever its method.
        meaning.body = framing.try_body(version)?.unwrap_or(BodyLength::None);
        let options = if has_options { Options::try_apply(bytes, fields)? } else { Options::default() };
        meaning.keep_alive = options.persists(version);
        Ok(meaning)
    }
}

/// Whether an Expect value asks for a 100.
fn try_expect(value: &[u8], version: Version) -> Result<bool, HeadError> {
    // RFC 9110 section 10.1.1: the expectation of an HTTP/1.0 request is ignored.
    if version == Version::Http10 {
        return Ok(false);
    }
    let mut expects = false;
    for expectation in list(value) {
        // RFC 9110 section 10.1.1: an unknown expectation may be answered with 417.
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            return Err(HeadError::UnknownExpectation);
        }
        expects = true;
    }
    Ok(expects)
}

/// Whether a Via field names `name` as a recipient: the request has been here before (RFC 9110 section 7.6).
#[must_use]
pub fn via_names(head: &RequestHead, bytes: &[u8], name: &[u8]) -> bool {
    head.fields
        .iter()
        .filter(|field| field.kind == FieldKind::Via)
        .flat_map(|field| list(field.value.of(bytes)))
        // Each element is the received protocol, the recipient and perhaps a comment (RFC 9110 section 7.6.3).
        .filter_map(|element| element.split(|byte| matches!(byte, b' ' | b'\t')).filter(|part| !part.is_empty()).nth(1))
        .any(|recipient| recipient.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
