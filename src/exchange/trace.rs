//! The trace that an exchange belongs to (W3C Trace Context): its identity, those of its spans, and whether it is recorded.

use std::cell::{Cell, RefCell};

use super::adopted::Adopted;
use super::failure::{Failure, Fault};
use super::held::Exchange;
use super::settle::is_failed_call;
use super::shard::Shard;
use crate::http1::{RequestHead, TraceOut, TraceParent, id_text};
use crate::net::{Buffer, Env};
use crate::telemetry::{ATTEMPT_BYTES_MAX, ATTEMPTS_BYTES_MAX, AttemptSpan, ExchangeSpan, Record};

/// One exchange as part of a trace.
pub(super) struct Trace {
    /// The trace, and the span of the exchange.
    own: TraceParent,
    /// The span that it is part of, if the trace came with the request.
    parent: Option<[u8; 8]>,
    /// The span of the attempt under way.
    attempt: Cell<[u8; 8]>,
    /// Is there an attempt whose end is not noted?
    is_open: Cell<bool>,
    /// Attempts that have ended, in a buffer of the pool: most exchanges end with their first one.
    ended: RefCell<Option<Buffer>>,
    /// Attempts that have ended and had no room there.
    left_out: Cell<u32>,
}

impl Trace {
    /// The trace of a request: the one that it came with, or else a new one; `None` when requests are not traced.
    pub(super) fn begin<E: Env>(shard: &Shard<E>, adopted: &Adopted, head: &RequestHead, bytes: &[u8]) -> Option<Self> {
        let share = adopted.traced?;
        let received = TraceParent::of(head, bytes);
        let mut rng = shard.rng.borrow_mut();
        let span_id = rng.id64();
        let own = match received {
            Some(parent) => TraceParent { span_id, ..parent },
            None => TraceParent { trace_id: rng.id128(), span_id, sampled: share.takes(|| rng.u64()) },
        };
        Some(Self {
            own,
            parent: received.map(|parent| parent.span_id),
            attempt: Cell::new(span_id),
            is_open: Cell::new(false),
            ended: RefCell::default(),
            left_out: Cell::new(0),
        })
    }

    /// Notes an attempt that has ended, or that there is no room for it.
    fn note(&self, span: &AttemptSpan<'_>, lend: impl FnOnce() -> Buffer) {
        let mut ended = self.ended.borrow_mut();
        let spans = ended.get_or_insert_with(lend);
        if spans.len() + ATTEMPT_BYTES_MAX > ATTEMPTS_BYTES_MAX {
            self.left_out.set(self.left_out.get() + 1);
        } else {
            span.encode(spans.sink());
        }
    }

    /// What a request is told whose sender is the span `span_id`.
    fn told(&self, span_id: [u8; 8]) -> TraceOut {
        TraceOut { parent: TraceParent { span_id, ..self.own }, is_continued: self.parent.is_some() }
    }
}

impl<E: Env> Exchange<'_, E> {
    /// Another attempt is another span.
    pub(super) fn on_attempt_traced(&self) {
        if let Some(trace) = &self.trace {
            trace.attempt.set(self.shard.rng.borrow_mut().id64());
            trace.is_open.set(true);
        }
    }

    /// Notes that the attempt under way is over, now or at a time that is known.
    pub(super) fn on_attempt_over(&self, failure: Option<Failure>, ended_ns: Option<u64>) {
        let Some(trace) = self.trace.as_ref().filter(|trace| trace.is_open.take()) else { return };
        let Some(endpoint) = self.tally.endpoint.get() else { return };
        let since_start = |at_ns: u64| at_ns.saturating_sub(self.tally.started_ns);
        let span = AttemptSpan {
            span_id: trace.attempt.get(),
            began_ns: since_start(self.tally.ready_ns.get()),
            ended_ns: since_start(ended_ns.unwrap_or_else(|| self.shard.env.now_ns())),
            endpoint,
            reused: self.tally.reused.get(),
            status: self.tally.upstream_status.get(),
            reason: failure.map_or("", |failure| failure.verdict().label),
        };
        trace.note(&span, || self.shard.buffers.lend());
    }

    /// Is a collector told of the exchange? Of one whose trace is recorded, and wherever something failed or was slow.
    /// `answered_ns` is what its answer took: a tunnel is not slow because it was used for long.
    pub(super) fn is_recorded(&self, status: u16, answered_ns: u64) -> bool {
        let exports = self.adopted.snapshot.tracing.is_some_and(|tracing| tracing.exports);
        let trace = self.trace.as_ref().filter(|_| exports);
        // Not by its class in the log: one whose client gave up is an error there however long that took.
        let is_slow = self.adopted.sampler.is_slow(answered_ns);
        trace.is_some_and(|trace| trace.own.sampled || is_slow || self.is_error(status))
    }

    /// What a client did wrong is no error of anybody who would look for it here.
    fn is_error(&self, status: u16) -> bool {
        let failed = match self.tally.failure.get() {
            Some(failure) => failure.verdict().fault != Fault::Client,
            None => is_failed_call(self.tally.grpc_status.get()),
        };
        failed || status >= 500
    }

    /// Hands the exchange over to the collector.
    pub(super) fn trace_out(&self, record: &Record<'_>) {
        let Some(trace) = &self.trace else { return };
        let shard = self.shard;
        self.on_attempt_over(None, Some(self.tally.started_ns + record.duration_ns));
        let ended = trace.ended.borrow();
        let span = ExchangeSpan {
            trace_id: trace.own.trace_id,
            span_id: trace.own.span_id,
            parent: trace.parent,
            sampled: trace.own.sampled,
            is_error: self.is_error(record.status),
            began_unix_ns: shard.unix_ns(self.tally.started_ns),
            attempts: ended.as_ref().map_or(&[], Buffer::filled),
            record: *record,
        };
        if shard.spans.borrow_mut().try_push(&span) {
            shard.counters.untold[2].add(u64::from(trace.left_out.get()));
        } else {
            shard.counters.untold[1].add(1 + u64::from(record.attempts));
        }
    }

    /// What an attempt tells its endpoint.
    pub(super) fn trace_of_attempt(&self) -> Option<TraceOut> {
        self.trace.as_ref().map(|trace| trace.told(trace.attempt.get()))
    }

    /// What a copy tells its endpoint: it is no attempt of the exchange.
    pub(super) fn trace_of_copy(&self) -> Option<TraceOut> {
        self.trace.as_ref().map(|trace| trace.told(trace.own.span_id))
    }

    /// The trace that the request belongs to, whether or not the gateway has a part in it, as logs show it; empty without
    /// any. `own` is room for it.
    pub(super) fn trace_id<'s>(&'s self, own: &'s mut [u8; 32]) -> &'s [u8] {
        match &self.trace {
            Some(trace) => {
                *own = id_text(&trace.own.trace_id);
                own
            }
            None => TraceParent::id_of(self.head, self.bytes).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::BufferPool;

    #[test]
    fn an_attempt_is_noted_or_counted_as_left_out() {
        let pool = BufferPool::new();
        let trace = Trace {
            own: TraceParent { trace_id: [1; 16], span_id: [2; 8], sampled: true },
            parent: None,
            attempt: Cell::default(),
            is_open: Cell::default(),
            ended: RefCell::default(),
            left_out: Cell::default(),
        };
        for number in 0..100 {
            let span = AttemptSpan {
                span_id: [0; 8],
                began_ns: number,
                ended_ns: number,
                endpoint: "10.0.0.1:80".parse().expect("an address"),
                reused: false,
                status: 0,
                reason: "connect_refused",
            };
            trace.note(&span, || pool.lend());
        }
        let ended = trace.ended.borrow();
        let mut noted = ended.as_ref().expect("some were noted").filled();
        assert!(noted.len() <= ATTEMPTS_BYTES_MAX);
        let began: Vec<_> = std::iter::from_fn(|| AttemptSpan::take(&mut noted)).map(|span| span.began_ns).collect();
        let count = u32::try_from(began.len()).expect("few");
        assert!(count >= 16 && began == (0..u64::from(count)).collect::<Vec<_>>(), "the first ones, whole: {began:?}");
        assert_eq!(trace.left_out.get(), 100 - count);
    }
}
