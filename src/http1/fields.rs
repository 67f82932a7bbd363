//! Field lines: what a name means to a gateway, which fields end at this hop.

use super::span::Span;

/// One field line of a head.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name as received.
    pub name: Span,
    /// The value without the white space around it.
    pub value: Span,
    /// What the name means to a gateway.
    pub kind: FieldKind,
    /// Hop-by-hop: never forwarded (RFC 9110 section 7.6.1).
    pub hop: bool,
}

/// What a field name means to a gateway.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FieldKind {
    /// Host.
    Host,
    /// Connection.
    Connection,
    /// Content-Length.
    ContentLength,
    /// Transfer-Encoding.
    TransferEncoding,
    /// TE.
    Te,
    /// Trailer.
    Trailer,
    /// Upgrade.
    Upgrade,
    /// Keep-Alive.
    KeepAlive,
    /// Proxy-Connection.
    ProxyConnection,
    /// Proxy-Authenticate.
    ProxyAuthenticate,
    /// Proxy-Authorization.
    ProxyAuthorization,
    /// Expect.
    Expect,
    /// Via.
    Via,
    /// Max-Forwards.
    MaxForwards,
    /// Forwarded (RFC 7239).
    Forwarded,
    /// X-Forwarded-For.
    XForwardedFor,
    /// X-Forwarded-Proto.
    XForwardedProto,
    /// X-Forwarded-Host.
    XForwardedHost,
    /// Any other X-Forwarded-*.
    XForwardedOther,
    /// X-Real-IP.
    XRealIp,
    /// X-Request-ID.
    XRequestId,
    /// HTTP2-Settings (RFC 7540 section 3.2.1).
    Http2Settings,
    /// Date.
    Date,
    /// Server.
    Server,
    /// Authorization.
    Authorization,
    /// Cookie.
    Cookie,
    /// User-Agent.
    UserAgent,
    /// Traceparent (W3C Trace Context).
    Traceparent,
    /// Tracestate (W3C Trace Context).
    Tracestate,
    /// Content-Type.
    ContentType,
    /// grpc-timeout.
    GrpcTimeout,
    /// Any other name.
    Other,
}

/// A set of kinds, one bit each.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct KindSet(u32);

impl KindSet {
    /// The set of these kinds.
    pub(super) const fn of(kinds: &[FieldKind]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < kinds.len() {
            bits |= 1 << kinds[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    /// Whether `kind` is in it.
    #[inline]
    pub(super) const fn contains(self, kind: FieldKind) -> bool {
        self.0 & (1 << kind as u32) != 0
    }

    /// This set and `kind`.
    #[inline]
    pub(super) const fn with(self, kind: FieldKind) -> Self {
        Self(self.0 | 1 << kind as u32)
    }

    /// The kinds of either set.
    #[inline]
    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Fields that end at this hop whatever Connection says (RFC 9110 section 7.6.1, RFC 9112 section 9.6).
pub(super) const HOP: KindSet = KindSet::of(&[
    FieldKind::Connection,
    FieldKind::TransferEncoding,
    FieldKind::Te,
    FieldKind::Upgrade,
    FieldKind::KeepAlive,
    FieldKind::ProxyConnection,
    FieldKind::ProxyAuthenticate,
    FieldKind::ProxyAuthorization,
    FieldKind::Http2Settings,
]);

/// What a peer that is not trusted may not say of its client.
pub(super) const CLAIMS: KindSet = KindSet::of(&[
    FieldKind::Forwarded,
    FieldKind::XForwardedFor,
    FieldKind::XForwardedProto,
    FieldKind::XForwardedHost,
    FieldKind::XForwardedOther,
    FieldKind::XRealIp,
]);

/// Fields by which proxies tell the next one who the client is, and what its request is called; a client itself may not.
pub(super) const FORWARDING: KindSet = CLAIMS.with(FieldKind::XRequestId);

/// Names without a kind that no connection option may take off a message (RFC 9110 section 7.6.1: they
/// are meant for all recipients), and that no trailer section may bring (RFC 9110 section 6.5.1).
const END_TO_END: [&[u8]; 33] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"age",
    b"allow",
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"etag",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"origin",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"referer",
    b"strict-transport-security",
    b"vary",
    b"warning",
    b"www-authenticate",
    b"access-control-allow-origin",
    b"content-security-policy",
];

/// Whether `name` is one of `END_TO_END`.
pub(super) fn is_end_to_end(name: &[u8]) -> bool {
    END_TO_END.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Compares with a lower-case name of the same length, `_` not equal to `-`; `name` is a token.
///
/// Among token characters only a letter and its own upper case share their bits but 0x20.
#[inline]
fn is<const N: usize>(name: &[u8], lower: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let mut difference = 0;
    for at in 0..N {
        difference |= (name[at] | 0x20) ^ lower[at];
    }
    difference == 0
}

/// Compares tokens; neither case nor `_` instead of `-` makes a difference: endpoints like CGI cannot tell them apart.
#[inline]
pub(super) fn is_loosely(name: &[u8], other: &[u8]) -> bool {
    name.len() == other.len() && name.iter().zip(other).all(|(&byte, &other)| loose(byte) == loose(other))
}

/// The one byte that stands for all that count as the same.
const fn loose(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte | 0x20 }
}

impl FieldKind {
    /// The kind of the field of this name, a token; `_` counts as `-` in the names of forwarding fields.
    #[inline]
    #[must_use]
    pub fn classify(name: &[u8]) -> Self {
        let Some(first) = name.first() else { return Self::Other };
        match (first | 0x20, name.len()) {
            (b'a', 13) if is(name, b"authorization") => Self::Authorization,
            (b'c', 6) if is(name, b"cookie") => Self::Cookie,
            (b'c', 10) if is(name, b"connection") => Self::Connection,
            (b'c', 12) if is(name, b"content-type") => Self::ContentType,
            (b'c', 14) if is(name, b"content-length") => Self::ContentLength,
            (b'd', 4) if is(name, b"date") => Self::Date,
            (b'e', 6) if is(name, b"expect") => Self::Expect,
            (b'f', 9) if is(name, b"forwarded") => Self::Forwarded,
            (b'g', 12) if is(name, b"grpc-timeout") => Self::GrpcTimeout,
            (b'h', 4) if is(name, b"host") => Self::Host,
            (b'h', 14) if is(name, b"http2-settings") => Self::Http2Settings,
            (b'k', 10) if is(name, b"keep-alive") => Self::KeepAlive,
            (b'm', 12) if is(name, b"max-forwards") => Self::MaxForwards,
            (b'p', 16) if is(name, b"proxy-connection") => Self::ProxyConnection,
            (b'p', 18) if is(name, b"proxy-authenticate") => Self::ProxyAuthenticate,
            (b'p', 19) if is(name, b"proxy-authorization") => Self::ProxyAuthorization,
            (b's', 6) if is(name, b"server") => Self::Server,
            (b't', 2) if is(name, b"te") => Self::Te,
            (b't', 7) if is(name, b"trailer") => Self::Trailer,
            (b't', 10) if is(name, b"tracestate") => Self::Tracestate,
            (b't', 11) if is(name, b"traceparent") => Self::Traceparent,
            (b't', 17) if is(name, b"transfer-encoding") => Self::TransferEncoding,
            (b'u', 7) if is(name, b"upgrade") => Self::Upgrade,
            (b'u', 10) if is(name, b"user-agent") => Self::UserAgent,
            (b'v', 3) if is(name, b"via") => Self::Via,
            (b'x', 9..) => Self::classify_extension(name),
            _ => Self::Other,
        }
    }

    /// Whether fields of this kind end at this hop, whatever Connection says (RFC 9110 section 7.6.1).
    #[inline]
    #[must_use]
    pub const fn is_hop(self) -> bool {
        HOP.contains(self)
    }

    /// Does it say who the client is and how it came? Only a peer that is trusted is believed.
    #[must_use]
    pub const fn is_claim(self) -> bool {
        CLAIMS.contains(self)
    }

    /// The kind of a name that starts with `x`.
    fn classify_extension(name: &[u8]) -> Self {
        match name.len() {
            9 if is_loosely(name, b"x-real-ip") => Self::XRealIp,
            12 if is_loosely(name, b"x-request-id") => Self::XRequestId,
            15 if is_loosely(name, b"x-forwarded-for") => Self::XForwardedFor,
            16 if is_loosely(name, b"x-forwarded-host") => Self::XForwardedHost,
            17 if is_loosely(name, b"x-forwarded-proto") => Self::XForwardedProto,
            12.. if is_loosely(&name[..12], b"x-forwarded-") => Self::XForwardedOther,
            _ => Self::Other,
        }
    }
}

/// The values of all lines of `kind` in their order; spellings that are never forwarded (`X_Real_IP`) are passed over.
pub(super) fn all<'a>(fields: &[Field], bytes: &'a [u8], kind: FieldKind) -> impl DoubleEndedIterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.kind == kind && (!field.hop || HOP.contains(kind)))
        .map(|field| field.value.of(bytes))
}

/// The first value of `kind`; spellings that are never forwarded (`X_Real_IP`) are passed over.
pub(super) fn find<'a>(fields: &[Field], bytes: &'a [u8], kind: FieldKind) -> Option<&'a [u8]> {
    all(fields, bytes, kind).next()
}

/// The first value of the field `name`, compared without regard to case.
pub(super) fn find_name<'a>(fields: &[Field], bytes: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fields
        .iter()
        .find(|field| field.name.len() == name.len() && field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| field.value.of(bytes))
}

/// The elements of a comma-separated list; empty ones are ignored (RFC 9110 section 5.6.1.2).
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// Whether `byte` may be in a token (RFC 9110 section 5.6.2).
pub(super) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether `name` is a token.
pub(super) fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().copied().all(is_token_byte)
}

/// Whether no byte of `value` is a control character other than a tab (RFC 9110 section 5.5).
#[must_use]
pub fn is_value(value: &[u8]) -> bool {
    value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests;
