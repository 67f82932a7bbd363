//! Spans to a collector, by OTLP over HTTP.
//!
//! Owns: the exporters' ends of the workers' rings, the connection to the collector, the counts of what became of spans.
//! Never: makes anybody wait. While a collector is slow or away the rings fill and their owners drop; a batch that it does
//! not take is dropped, and the next one is tried after a growing pause. All of it is counted.

mod counts;
mod sender;
mod span;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter as Exporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(super) use counts::Counts;

use self::counts::Dropped;
use self::sender::{Last, Sender};
use crate::clock;
use crate::config::{self, Config};
use crate::telemetry::SpanDrain;

/// Pause between two looks at the rings.
const POLL: Duration = Duration::from_millis(100);
/// A batch goes out that long after the one before at the soonest, so that a busy gateway does not pay for a request, and for
/// waking up to it, ten times a second; a ring with plenty in it does not wait.
const BETWEEN_NS: u64 = 500_000_000;
/// Spans sent at once; the last exchange may bring a few more.
const BATCH: usize = 512;
/// Pause after the first batch in a row that was lost, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Time for one export that our own client does not keep to; it never should be.
const EXPORT_PATIENCE: Duration = Duration::from_secs(10);
/// What spans are said to be made by, unless the environment says otherwise (`OTEL_SERVICE_NAME`).
const SERVICE: &str = "ringgate";

/// What the exporter is to do.
#[derive(Debug, Clone, Default, PartialEq)]
struct Wanted {
    collector: Option<config::Collector>,
    /// The epoch since which there is one: what is recorded of an epoch before that was for nobody, or for one of long ago.
    since: u64,
    /// Is nothing to follow what is in the rings?
    is_over: bool,
}

/// The gateway's side of the exporter, which is a task of the control thread.
#[derive(Debug)]
pub(super) struct Traces {
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

impl Traces {
    /// Starts the exporter for what `config` says.
    pub(super) fn start(config: &Config, drains: Vec<SpanDrain>, counts: Arc<Counts>) -> Self {
        let (wanted, orders) = watch::channel(Wanted { collector: collector_of(config), since: 0, is_over: false });
        let scope = InstrumentationScope::builder(SERVICE).with_version(env!("CARGO_PKG_VERSION")).build();
        let export = Export {
            orders,
            drains,
            counts,
            scope,
            to: None,
            since: 0,
            collector: None,
            due_ns: 0,
            pause: FIRST_PAUSE,
            is_failing: false,
        };
        Self { wanted, task: tokio::spawn(export.run()) }
    }

    /// Takes up another configuration, which is that of `epoch` and later ones; before workers know of it, so that nothing that
    /// they record by it finds nobody to take it.
    pub(super) fn follow(&self, config: &Config, epoch: u64) {
        let collector = collector_of(config);
        self.wanted.send_if_modified(|wanted| {
            let is_other = wanted.collector != collector;
            if wanted.collector.is_none() {
                wanted.since = epoch;
            }
            wanted.collector = collector;
            is_other
        });
    }

    /// Sends what is left and ends the exporter; waits at most `patience`, and `false` says that it was not enough.
    pub(super) async fn finish(mut self, patience: Duration) -> bool {
        self.wanted.send_modify(|wanted| wanted.is_over = true);
        let ended = tokio::time::timeout(patience, &mut self.task).await.is_ok();
        self.task.abort();
        ended
    }
}

fn collector_of(config: &Config) -> Option<config::Collector> {
    config.tracing.as_ref()?.otlp.clone()
}

/// What came of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// The last batch is not long ago.
    Early,
    Empty,
    /// All that there was is the collector's.
    Taken,
    /// There may be more.
    Full,
    Lost,
}

/// What the task owns.
struct Export {
    orders: watch::Receiver<Wanted>,
    drains: Vec<SpanDrain>,
    counts: Arc<Counts>,
    scope: InstrumentationScope,
    /// Where it sends to.
    to: Option<config::Collector>,
    /// The first epoch whose spans it takes.
    since: u64,
    collector: Option<Collector>,
    /// When the next batch may go out; 0 for at once.
    due_ns: u64,
    /// The next pause after a batch that is lost.
    pause: Duration,
    /// The last batch was lost; reported once, not per batch.
    is_failing: bool,
}

impl Export {
    async fn run(mut self) {
        loop {
            let Wanted { collector, since, is_over } = self.orders.borrow_and_update().clone();
            self.since = since;
            if self.to != collector {
                self.collector = collector.as_ref().and_then(Collector::new);
                self.to = collector;
                (self.due_ns, self.pause, self.is_failing) = (0, FIRST_PAUSE, false);
            }
            let round = if is_over || self.is_due() { self.round().await } else { Round::Early };
            let pause = match round {
                Round::Full => continue,
                Round::Taken if is_over => continue,
                Round::Early | Round::Taken | Round::Empty => POLL,
                Round::Lost => self.pause,
            };
            if is_over {
                let lost = self.drop_all();
                self.counts.on_dropped(Dropped::Shutdown, lost);
                return;
            }
            if round == Round::Lost {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
            // Without a collector nothing comes but what exchanges of the epoch before leave.
            let is_idle = self.collector.is_none() && self.drains.iter().all(SpanDrain::is_empty);
            let gone = tokio::select! {
                changed = self.orders.changed() => changed.is_err(),
                () = tokio::time::sleep(pause), if !is_idle => false,
            };
            if gone {
                return;
            }
        }
    }

    fn is_due(&self) -> bool {
        clock::now_ns() >= self.due_ns || self.drains.iter().any(SpanDrain::has_plenty)
    }

    /// Takes a batch in turns from every ring and sends it.
    async fn round(&mut self) -> Round {
        let Some(collector) = &self.collector else {
            let spans = self.drop_all();
            if self.to.is_some() {
                // Asked for, and by no fault of theirs not to be had; without that nobody misses what exchanges of before left.
                self.counts.on_dropped(Dropped::Shutdown, spans);
            }
            return Round::Empty;
        };
        let spans = gather(&mut self.drains, &self.scope, self.since);
        if spans.is_empty() {
            return Round::Empty;
        }
        let count = spans.len() as u64;
        match collector.export(spans).await {
            Ok(rejected) => {
                let rejected = rejected.min(count);
                self.counts.on_exported(count - rejected);
                self.counts.on_dropped(Dropped::Rejected, rejected);
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("the collector takes spans again");
                }
                self.pause = FIRST_PAUSE;
                let is_all = count < BATCH as u64;
                self.due_ns = if is_all { clock::now_ns() + BETWEEN_NS } else { 0 };
                if is_all { Round::Taken } else { Round::Full }
            }
            Err((why, error)) => {
                self.counts.on_dropped(why, count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(why = why.name(), error, "the collector takes no spans, they are lost and counted");
                }
                Round::Lost
            }
        }
    }

    /// Empties the rings; how many spans of what was asked for were in them.
    fn drop_all(&mut self) -> u64 {
        let mut spans = 0;
        for drain in &mut self.drains {
            while let Some(exchange) = drain.try_pop() {
                if exchange.record.epoch >= self.since {
                    spans += 1 + exchange.attempts().count() as u64;
                }
            }
        }
        spans
    }
}

/// Takes a batch from the rings, of epochs from `since` on. Each time another one is the first, so that what one worker has to tell does not keep out
/// what the others have.
fn gather(drains: &mut [SpanDrain], scope: &InstrumentationScope, since: u64) -> Vec<SpanData> {
    let mut spans = Vec::new();
    for drain in &mut *drains {
        while spans.len() < BATCH
            && let Some(exchange) = drain.try_pop()
        {
            if exchange.record.epoch >= since {
                span::append(&mut spans, &exchange, scope);
            }
        }
    }
    if !drains.is_empty() {
        drains.rotate_left(1);
    }
    spans
}

/// Where spans go.
struct Collector {
    exporter: Exporter,
    last: Arc<Last>,
}

impl Collector {
    /// The collector at `to`; `None`, which is told, when the environment has settings of OTLP that are none.
    fn new(to: &config::Collector) -> Option<Self> {
        let last = Arc::new(Last::default());
        let built = Exporter::builder()
            .with_http()
            .with_http_client(Sender::new(to.clone(), Arc::clone(&last)))
            .with_retry_policy(RetryPolicy::disabled())
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_PATIENCE)
            .with_endpoint(format!("{}/v1/traces", to.url.to_string().trim_end_matches('/')))
            .build();
        let mut exporter = match built {
            Ok(exporter) => exporter,
            Err(error) => {
                tracing::error!(%error, "no spans are sent");
                return None;
            }
        };
        exporter.set_resource(&resource());
        Some(Self { exporter, last })
    }

    /// Sends a batch; how many of its spans were not wanted.
    async fn export(&self, spans: Vec<SpanData>) -> Result<u64, (Dropped, String)> {
        match self.exporter.export(spans).await {
            Ok(()) => Ok(self.last.take_rejected()),
            Err(error) => {
                let own = self.last.take_error();
                Err((self.last.why(), if own.is_empty() { error.to_string() } else { own }))
            }
        }
    }
}

/// Who makes the spans.
fn resource() -> Resource {
    let builder = Resource::builder();
    let is_named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let builder = if is_named { builder } else { builder.with_service_name(SERVICE) };
    builder.with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))).build()
}

#[cfg(test)]
mod tests {
    use super::super::log_writer::tests::record;
    use super::*;
    use crate::telemetry::{ExchangeSpan, SpanRing, span_ring};

    fn try_push(ring: &mut SpanRing, epoch: u64) -> bool {
        ring.try_push(&ExchangeSpan {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent: None,
            sampled: true,
            is_error: false,
            began_unix_ns: 0,
            attempts: &[],
            record: record(epoch),
        })
    }

    #[test]
    fn a_worker_with_more_to_tell_than_is_taken_does_not_keep_the_others_out() {
        let ((mut busy, one), (mut calm, two)) = (span_ring(), span_ring());
        let (mut drains, scope) = ([one, two], InstrumentationScope::builder("test").build());
        assert!(try_push(&mut calm, 7));
        let of_calm = (0..2).map(|_| {
            while try_push(&mut busy, 1) {}
            let spans = gather(&mut drains, &scope, 0);
            assert_eq!(spans.len(), BATCH);
            let seven = KeyValue::new("gateway.epoch", 7);
            spans.iter().filter(|span| span.attributes.contains(&seven)).count()
        });
        assert_eq!(of_calm.sum::<usize>(), 1);
    }

    #[test]
    fn what_was_recorded_before_anybody_took_it_is_not_sent() {
        let ((mut ring, drain), scope) = (span_ring(), InstrumentationScope::builder("test").build());
        assert!([3, 4, 3, 5].into_iter().all(|epoch| try_push(&mut ring, epoch)));
        assert_eq!(gather(&mut [drain], &scope, 4).len(), 2);
    }
}
