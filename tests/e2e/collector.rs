//! A collector of traces that a test runs: it takes OTLP over HTTP and reads every span of it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, channel};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::ServerConfig;

use super::message::Message;
use super::origin::Origin;
use super::wait::until;

/// How a collector answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It takes everything.
    Takes,
    /// 500.
    Fails,
    /// 200 with a page instead of an answer of OTLP.
    Page,
    /// What is not HTTP.
    Garbage,
    /// It takes all spans but one.
    Picks,
}

const MOODS: [Mood; 5] = [Mood::Takes, Mood::Fails, Mood::Page, Mood::Garbage, Mood::Picks];

/// What it makes of a request.
type Answering = Box<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// A running collector.
pub(crate) struct Collector {
    origin: Origin,
    mood: Arc<AtomicU8>,
    inbox: Receiver<Vec<Seen>>,
    seen: RefCell<Vec<Seen>>,
}

/// A span that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) span: Span,
    /// `service.name` of its resource.
    pub(crate) service: String,
}

impl Collector {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        Self::of(|answer| Origin::answering(answer))
    }

    /// The same over TLS.
    pub(crate) fn secured(config: ServerConfig) -> Self {
        Self::of(|answer| Origin::secured(config, move |_, request| answer(request)))
    }

    fn of(start: impl FnOnce(Answering) -> Origin) -> Self {
        let mood = Arc::new(AtomicU8::new(0));
        let (told, (sender, inbox)) = (Arc::clone(&mood), channel());
        let origin = start(Box::new(move |request| {
            let mood = MOODS[usize::from(told.load(Ordering::Relaxed))];
            if matches!(mood, Mood::Takes | Mood::Picks) {
                drop(sender.send(spans(request)));
            }
            answer(mood)
        }));
        Self { origin, mood, inbox, seen: RefCell::default() }
    }

    /// Answers so from now on.
    pub(crate) fn turns(&self, mood: Mood) {
        let place = MOODS.iter().position(|one| *one == mood).expect("one of them");
        self.mood.store(u8::try_from(place).expect("a few"), Ordering::Relaxed);
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> u64 {
        self.origin.connections()
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.origin.requests()
    }

    /// Everything that came so far.
    pub(crate) fn all(&self) -> Vec<Seen> {
        let mut seen = self.seen.borrow_mut();
        seen.extend(self.inbox.try_iter().flatten());
        seen.clone()
    }

    /// Waits for the span of the exchange of this path, and gives it with those of its attempts in their order.
    pub(crate) fn exchange(&self, path: &str) -> (Seen, Vec<Seen>) {
        until(&format!("the span of {path}"), || self.find(path))
    }

    /// The same, if it is there.
    pub(crate) fn find(&self, path: &str) -> Option<(Seen, Vec<Seen>)> {
        let all = self.all();
        let own = all.iter().find(|seen| seen.span.kind == SERVER && seen.says("url.path") == path)?.clone();
        let mut attempts: Vec<_> =
            all.iter().filter(|seen| seen.span.parent_span_id == own.span.span_id).cloned().collect();
        attempts.sort_by_key(|seen| seen.span.start_time_unix_nano);
        Some((own, attempts))
    }
}

/// The kinds of spans.
pub(crate) const SERVER: i32 = 2;
pub(crate) const CLIENT: i32 = 3;

impl Seen {
    /// An attribute as text; empty when it is not there.
    pub(crate) fn says(&self, key: &str) -> String {
        let attribute = self.span.attributes.iter().find(|attribute| attribute.key == key);
        match attribute.and_then(|attribute| attribute.value.clone()?.value) {
            Some(Value::StringValue(text)) => text,
            Some(Value::IntValue(number)) => number.to_string(),
            Some(Value::BoolValue(is)) => is.to_string(),
            Some(other) => panic!("{key}: {other:?}"),
            None => String::new(),
        }
    }

    /// Is its status an error?
    pub(crate) fn is_error(&self) -> bool {
        self.span.status.as_ref().is_some_and(|status| status.code == 2)
    }

    /// Its trace in hexadecimal digits.
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// Its identity in hexadecimal digits.
    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// That of its parent.
    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn spans(request: &Message) -> Vec<Seen> {
    assert!(request.start.starts_with("POST /v1/traces "), "{request}");
    assert_eq!(request.field("content-type"), Some("application/x-protobuf"));
    let export = ExportTraceServiceRequest::decode(&request.body[..]).expect("OTLP");
    let mut all = Vec::new();
    for resource in export.resource_spans {
        let attributes = resource.resource.expect("a resource").attributes;
        let service = attributes.iter().find(|attribute| attribute.key == "service.name").cloned();
        let service = match service.and_then(|attribute| attribute.value?.value) {
            Some(Value::StringValue(text)) => text,
            other => panic!("service.name: {other:?}"),
        };
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        all.extend(spans.map(|span| Seen { span, service: service.clone() }));
    }
    all
}

fn answer(mood: Mood) -> Vec<u8> {
    let (status, kind, body) = match mood {
        Mood::Garbage => return b"\x15\x03\x01 this is not HTTP\r\n\r\n".to_vec(),
        Mood::Fails => ("500 Oh", "text/plain", b"no".to_vec()),
        Mood::Page => ("200 OK", "text/html", b"<html>\xff</html>".to_vec()),
        Mood::Takes => ("200 OK", "application/x-protobuf", Vec::new()),
        Mood::Picks => {
            let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one too many".to_owned() };
            let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
            ("200 OK", "application/x-protobuf", answer.encode_to_vec())
        }
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.into_bytes(), body].concat()
}
