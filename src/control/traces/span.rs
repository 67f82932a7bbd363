//! Records of exchanges as spans of OpenTelemetry, named by its semantic conventions for HTTP.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use crate::telemetry::{AttemptSpan, ExchangeSpan, METHODS, PROTOCOLS, method_index};

/// Attributes of an exchange, and of an attempt, that went well; those of a failure make room for themselves.
const EXCHANGE_ATTRIBUTES: usize = 15;
const ATTEMPT_ATTRIBUTES: usize = 7;
/// Bytes of the longest IPv4 address.
const ADDRESS_BYTES: usize = 15;

/// Appends the spans of an exchange, its own first.
pub(super) fn append(spans: &mut Vec<SpanData>, exchange: &ExchangeSpan<'_>, scope: &InstrumentationScope) {
    spans.push(of_exchange(exchange, scope));
    spans
        .extend(exchange.attempts().enumerate().map(|(number, attempt)| of_attempt(exchange, number, &attempt, scope)));
}

fn of_exchange(exchange: &ExchangeSpan<'_>, scope: &InstrumentationScope) -> SpanData {
    let record = &exchange.record;
    let mut attributes = Vec::with_capacity(EXCHANGE_ATTRIBUTES);
    attributes.extend([
        KeyValue::new("http.request.method", method(record.method)),
        KeyValue::new("url.path", text(record.path)),
        KeyValue::new("http.response.status_code", i64::from(record.status)),
        KeyValue::new("client.address", address(record.client)),
        KeyValue::new("http.request.body.size", number(record.bytes_in)),
        KeyValue::new("http.response.body.size", number(record.bytes_out)),
        KeyValue::new("gateway.attempts", i64::from(record.attempts)),
        KeyValue::new("gateway.epoch", number(record.epoch)),
    ]);
    for (key, value) in [
        ("server.address", record.host),
        ("user_agent.original", record.user_agent),
        ("http.route", record.route),
        ("gateway.request_id", record.request_id),
        ("gateway.cluster", record.cluster),
    ] {
        if !value.is_empty() {
            attributes.push(KeyValue::new(key, text(value)));
        }
    }
    if let Some(version) = record.protocol.and_then(|place| PROTOCOLS.get(usize::from(place))) {
        attributes.push(KeyValue::new("network.protocol.version", version.trim_start_matches("HTTP/")));
    }
    if let Some(status) = record.grpc_status {
        attributes.push(KeyValue::new("rpc.grpc.status_code", i64::from(status)));
    }
    if let Some(reason) = record.reason {
        attributes.push(KeyValue::new("gateway.reason", reason.to_owned()));
        attributes.push(KeyValue::new("error.type", reason.to_owned()));
    } else if record.status >= 500 {
        attributes.push(KeyValue::new("error.type", record.status.to_string()));
    } else if let Some(status) = record.grpc_status.filter(|_| exchange.is_error) {
        attributes.push(KeyValue::new("error.type", status.to_string()));
    }
    let began = at(exchange.began_unix_ns);
    SpanData {
        span_context: identity(exchange, exchange.span_id),
        parent_span_id: SpanId::from_bytes(exchange.parent.unwrap_or_default()),
        parent_span_is_remote: exchange.parent.is_some(),
        span_kind: SpanKind::Server,
        name: name(record.method, record.route),
        start_time: began,
        end_time: began + Duration::from_nanos(record.duration_ns),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(exchange.is_error, record.reason.unwrap_or_default()),
        instrumentation_scope: scope.clone(),
    }
}

fn of_attempt(
    exchange: &ExchangeSpan<'_>,
    number: usize,
    attempt: &AttemptSpan<'_>,
    scope: &InstrumentationScope,
) -> SpanData {
    let record = &exchange.record;
    // The conventions of RPC: to a client every status but OK is an error. The one that the client got is the last attempt's.
    let is_answered = record.reason.is_none() && number + 1 == record.attempts as usize;
    let failed_call = record.grpc_status.filter(|status| is_answered && *status != 0);
    let mut attributes = Vec::with_capacity(ATTEMPT_ATTRIBUTES);
    attributes.extend([
        KeyValue::new("http.request.method", method(record.method)),
        KeyValue::new("url.path", text(record.path)),
        KeyValue::new("server.address", address(attempt.endpoint.ip())),
        KeyValue::new("server.port", i64::from(attempt.endpoint.port())),
        KeyValue::new("gateway.cluster", text(record.cluster)),
        KeyValue::new("gateway.connection_reused", attempt.reused),
    ]);
    if attempt.status > 0 {
        attributes.push(KeyValue::new("http.response.status_code", i64::from(attempt.status)));
    }
    if number > 0 {
        attributes.push(KeyValue::new("http.request.resend_count", i64::try_from(number).unwrap_or(i64::MAX)));
    }
    if !attempt.reason.is_empty() {
        attributes.push(KeyValue::new("gateway.reason", attempt.reason.to_owned()));
        attributes.push(KeyValue::new("error.type", attempt.reason.to_owned()));
    } else if attempt.status >= 400 {
        // The conventions: to a client 4xx are errors as well.
        attributes.push(KeyValue::new("error.type", attempt.status.to_string()));
    } else if let Some(status) = failed_call {
        attributes.push(KeyValue::new("error.type", status.to_string()));
    }
    let is_error = !attempt.reason.is_empty() || attempt.status >= 400 || failed_call.is_some();
    let began = at(exchange.began_unix_ns);
    SpanData {
        span_context: identity(exchange, attempt.span_id),
        parent_span_id: SpanId::from_bytes(exchange.span_id),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: name(record.method, record.cluster),
        start_time: began + Duration::from_nanos(attempt.began_ns),
        end_time: began + Duration::from_nanos(attempt.ended_ns.max(attempt.began_ns)),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: status(is_error, attempt.reason),
        instrumentation_scope: scope.clone(),
    }
}

fn identity(exchange: &ExchangeSpan<'_>, span_id: [u8; 8]) -> SpanContext {
    let flags = if exchange.sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
    let (trace_id, span_id) = (TraceId::from_bytes(exchange.trace_id), SpanId::from_bytes(span_id));
    SpanContext::new(trace_id, span_id, flags, false, TraceState::default())
}

fn status(is_error: bool, reason: &str) -> Status {
    if is_error { Status::error(reason.to_owned()) } else { Status::Unset }
}

/// `METHOD where`, or the method alone.
fn name(method: &[u8], place: &[u8]) -> Cow<'static, str> {
    let mut name = String::with_capacity(method.len() + 1 + place.len());
    name.push_str(&String::from_utf8_lossy(method));
    if !place.is_empty() {
        name.push(' ');
        name.push_str(&String::from_utf8_lossy(place));
    }
    name.into()
}

/// Almost all of them are known, and then nothing is copied.
fn method(bytes: &[u8]) -> Value {
    match METHODS.get(method_index(bytes)) {
        Some(known) if known.as_bytes() == bytes => Value::from(*known),
        _ => text(bytes).into(),
    }
}

fn address(ip: IpAddr) -> String {
    let IpAddr::V4(ip) = ip else { return ip.to_string() };
    let mut text = String::with_capacity(ADDRESS_BYTES);
    // A formatter would be most of an attribute's cost.
    let mut digits = itoa::Buffer::new();
    for (place, octet) in ip.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        text.push_str(digits.format(octet));
    }
    text
}

/// What a peer sent may be no text.
fn text(bytes: &[u8]) -> String {
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), ToOwned::to_owned)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn at(unix_ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(unix_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_addresses_read_as_they_were() {
        for known in METHODS {
            assert_eq!(method(known.as_bytes()), Value::from(known));
        }
        assert_eq!(method(b"get"), Value::from("get"));
        assert_eq!(method(b"PURGE"), Value::from("PURGE"));
        for ip in ["0.0.0.0", "255.255.255.255", "192.0.2.7", "2001:db8::1", "::ffff:192.0.2.7"] {
            assert_eq!(address(ip.parse().unwrap()), ip);
        }
    }

    #[test]
    fn names_say_the_method_and_where() {
        assert_eq!(name(b"GET", b"shop"), "GET shop");
        assert_eq!(name(b"GET", b""), "GET");
        assert_eq!(name(b"G\xffT", b"shop"), "G\u{fffd}T shop");
        assert_eq!(text(b"/a\xff"), "/a\u{fffd}");
    }
}
