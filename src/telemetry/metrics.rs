//! Counters as Prometheus text: every worker's cells summed when somebody scrapes.
//!
//! `prometheus-client` writes OpenMetrics. Its Prometheus 0.0.4 twin differs in two lines only: there the header of a
//! counter names the sample, `_total` included, and there is no end mark; `to_prometheus` makes that change.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::clusters::{ClusterView, EndpointView};
use super::counters::{
    ACCEPT_ERRORS, CAPS, CLASSES, Counter, DURATION_BOUNDS_NS, H2_CODES, H2_EXCESSES, METHODS, PROTOCOLS, REASONS_MAX,
    STATUS_FIRST, TLS_FAILURES, WorkerCounters,
};
use super::policy_syncs::PolicySyncs;
use super::retries::{NotRetried, Retried};
use super::top_clients::{TopClients, client_label};
use crate::limits;

pub use rollout::RolloutView;

const NS_PER_SECOND: f64 = 1e9;

/// The text formats a scraper may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4, what everything reads.
    Prometheus,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format for an `Accept` field value: OpenMetrics only to those that name it.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The `Content-Type` of the format.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// How upgrades went that this process was part of.
#[derive(Debug, Clone, Copy, Default)]
pub struct UpgradeCounts {
    /// 1 when it took the place of another process.
    pub ok: u64,
    /// Attempts to replace it that came to nothing.
    pub failed: u64,
}

/// How reloads went since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reloads {
    /// Reloads that were published.
    pub ok: u64,
    /// Reloads that were refused, so that the files say what is not in force.
    pub failed: u64,
    /// Configurations that were sent, refused, and kept nowhere.
    pub refused: u64,
    /// Whether the last reload was published; true before the first.
    pub last_ok: bool,
}

/// Everything one scrape shows.
#[derive(Debug, Clone)]
pub struct Scrape {
    /// Cells of every worker, in worker order.
    pub workers: Vec<Arc<WorkerCounters>>,
    /// Reason codes by reason index, for rejected requests and for upstream errors.
    pub reasons: Vec<&'static str>,
    /// Names of failed TLS handshakes, in the order of their counters.
    pub tls_failures: Vec<&'static str>,
    /// Why a store has no answer, in the order of its counters.
    pub store_failures: Vec<&'static str>,
    /// Route names by series slot.
    pub routes: Vec<String>,
    /// Routes that have no series of their own.
    pub routes_omitted: u64,
    /// Clients with series of their own.
    pub top_clients: usize,
    /// Keys of rate limits that lost their count for want of room.
    pub limits_stolen: u64,
    /// Most connections this process accepts.
    pub max_connections: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Memory that the process may use, in bytes; 0 without a limit.
    pub memory_limit_bytes: u64,
    /// How short memory is: 0 not at all, 1 for requests, 2 for connections as well.
    pub memory_shedding: u64,
    /// When the process started, in milliseconds since 1970.
    pub started_ms: u64,
    /// Epoch of the published configuration.
    pub epoch: u64,
    /// Live policies taken up so far.
    pub policy_syncs: PolicySyncs,
    /// Reloads so far.
    pub reloads: Reloads,
    /// Upgrades so far.
    pub upgrades: UpgradeCounts,
    /// Clusters of the configuration in force.
    pub clusters: Vec<ClusterView>,
    /// Active checks that were passed and that failed.
    pub probes: (u64, u64),
    /// Name lookups that were answered and that failed.
    pub lookups: (u64, u64),
    /// Fetches of issuers' keys that went well and that failed.
    pub key_fetches: (u64, u64),
    /// Log lines lost by the writer, beside the records dropped by workers.
    pub log_dropped: u64,
    /// Lines of the process log that were lost.
    pub journal_dropped: u64,
    /// Hellos of TLS that asked for a name that no certificate is for.
    pub unknown_names: u64,
    /// Spans that the collector of traces took.
    pub spans_exported: u64,
    /// Spans that it did not take, by why.
    pub spans_dropped: Vec<(&'static str, u64)>,
    /// Connections of the admin server that were ended, by why.
    pub admin_ended: [(&'static str, u64); 2],
    /// Configurations on trial.
    pub rollout: RolloutView,
}

/// The text of a scrape in the format asked for.
#[must_use]
pub fn render_metrics(mut scrape: Scrape, format: Format) -> String {
    scrape.clusters.iter_mut().for_each(ClusterView::merge_addresses);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::with_capacity(16 * 1024);
    text::encode(&mut out, &registry).expect("writing to a String cannot fail");
    match format {
        Format::OpenMetrics => out,
        Format::Prometheus => to_prometheus(&out),
    }
}

/// Renames the headers of counters to their samples and drops the end mark.
fn to_prometheus(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 1024);
    let mut help = "";
    for line in open.lines() {
        if let Some(header) = line.strip_prefix("# HELP ") {
            help = header.split_once(' ').map_or("", |(_, text)| text);
        } else if let Some(header) = line.strip_prefix("# TYPE ") {
            let (name, kind) = header.split_once(' ').expect("the encoder writes a name and a type");
            let suffix = if kind == "counter" { "_total" } else { "" };
            out.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder: &mut encoder };
        self.encode_requests(&mut page)?;
        self.encode_connections(&mut page)?;
        self.encode_upstream(&mut page)?;
        self.encode_retries(&mut page)?;
        self.encode_clusters(&mut page)?;
        self.encode_process(&mut page)
    }
}

impl Scrape {
    /// Sums one cell over the workers.
    fn sum(&self, cell: impl Fn(&WorkerCounters) -> u64) -> u64 {
        self.workers.iter().map(|worker| cell(worker)).fold(0, u64::wrapping_add)
    }

    fn encode_requests(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let mut family =
            page.open("http_requests", "Finished requests by method and status code.", MetricType::Counter)?;
        for (method, label) in METHODS.iter().enumerate() {
            for status in STATUS_FIRST..STATUS_FIRST + 500 {
                let count = self.sum(|worker| worker.requests(method, status));
                if count > 0 {
                    count_in(&mut family, &[("method", *label), ("code", &status.to_string())], count)?;
                }
            }
        }
        let help = "Finished requests by protocol; of those that could not be read it is unknown.";
        let mut family = page.open("http_requests_by_protocol", help, MetricType::Counter)?;
        for (index, protocol) in PROTOCOLS.into_iter().chain(["unknown"]).enumerate() {
            count_in(&mut family, &[("protocol", protocol)], self.sum(|worker| worker.protocols[index].value()))?;
        }
        self.encode_durations(page)?;
        self.encode_stages(page)?;
        page.gauge("http_requests_active", "Requests in progress.", self.sum(|w| w.requests_active.value()))?;
        let help = "Finished requests by route and class of the status code.";
        let mut family = page.open("http_route_requests", help, MetricType::Counter)?;
        for slot in 0..=limits::ROUTE_SERIES {
            for class in 1..=CLASSES {
                let count = self.sum(|worker| worker.route_requests(slot, class));
                if count > 0 {
                    let route = self.routes.get(slot).map_or("other", String::as_str);
                    count_in(&mut family, &[("route", route), ("class", &format!("{class}xx"))], count)?;
                }
            }
        }
        let help = "Routes that have no series of their own, and share that of other.";
        page.gauge("http_routes_omitted", help, self.routes_omitted)?;
        let mut family = page.open(
            "gateway_rejected_requests",
            "Requests the gateway itself answered with an error, or gave up unanswered, by reason.",
            MetricType::Counter,
        )?;
        self.encode_reasons(&mut family, |worker| &worker.rejected)?;
        let help = "Responses that began and did not come to their end, those of tunnels included, by reason.";
        let mut family = page.open("http_responses_cut", help, MetricType::Counter)?;
        self.encode_reasons(&mut family, |worker| &worker.cut)?;
        self.encode_limits(page)?;
        page.counter(
            "client_aborts",
            "Requests whose client left before the end.",
            self.sum(|w| w.client_aborts.value()),
        )
    }

    fn encode_limits(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let help = "Requests that a rate limit refused, by client, of IPv6 by /64; the rest are other.";
        let mut family = page.open("rate_limiter_rejected", help, MetricType::Counter)?;
        let (top, other) = TopClients::sum(self.workers.iter().map(|worker| &worker.top_clients), self.top_clients);
        for (client, count) in top {
            count_in(&mut family, &[("client", &client_label(client))], count)?;
        }
        count_in(&mut family, &[("client", "other")], other)?;
        let help = "Keys that lost their count because more came at once than the table of rate limits has room for.";
        page.counter("rate_limiter_evictions", help, self.limits_stolen)?;
        let help = "Questions to the stores of rate limits.";
        page.counter("rate_limiter_store_requests", help, self.sum(|w| w.store_requests.value()))?;
        let help = "Requests that waited for the store of a rate limit.";
        page.counter("rate_limiter_store_waits", help, self.sum(|w| w.store_waits.value()))?;
        let help = "Requests that the store of a rate limit had no answer for, by why.";
        let mut family = page.open("rate_limiter_store_errors", help, MetricType::Counter)?;
        for (index, reason) in self.store_failures.iter().enumerate() {
            count_in(&mut family, &[("reason", *reason)], self.sum(|w| w.store_errors[index].value()))?;
        }
        let help =
            "Requests that could have passed and did not: leases of a shared rate limit that were not used in time.";
        page.counter("rate_limiter_lease_lost", help, self.sum(|w| w.store_lost.value()))
    }

    fn encode_policy(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let syncs = &self.policy_syncs;
        let help = "Milliseconds from a change of the live policy being seen to its adoption by every core.";
        page.open("policy_sync_duration_ms", help, MetricType::Histogram)?.encode_histogram::<NoLabelSet>(
            syncs.sum_ms(),
            syncs.count(),
            &syncs.buckets_ms(),
            None,
        )?;
        let mut family = page.open("policy_updates", "Changes of the live policy by result.", MetricType::Counter)?;
        count_in(&mut family, &[("result", "ok")], syncs.count())?;
        count_in(&mut family, &[("result", "error")], syncs.refused)
    }

    fn encode_durations(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let buckets: Vec<(f64, u64)> = (0..=DURATION_BOUNDS_NS.len())
            .map(|index| {
                let bound = DURATION_BOUNDS_NS.get(index).map_or(f64::INFINITY, |ns| seconds(*ns));
                (bound, self.sum(|worker| worker.durations.bucket(index)))
            })
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.sum(|worker| worker.durations.sum_ns()));
        let help = "Seconds from the first byte of a request to the last byte of its response.";
        page.open("http_request_duration_seconds", help, MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn encode_connections(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        page.gauge("net_connections_active", "Client connections open.", sum(|w| &w.connections_active))?;
        page.gauge(
            "net_connections_idle",
            "Client connections open and between two requests, or without a stream of HTTP/2.",
            sum(|w| &w.connections_idle),
        )?;
        page.gauge("max_connections", "Most client connections this process accepts.", self.max_connections)?;
        page.counter("net_connections_accepted", "Client connections accepted.", sum(|w| &w.connections_accepted))?;
        let help = "Client connections closed at once because a cap was reached, by the setting.";
        let mut family = page.open("net_connections_rejected", help, MetricType::Counter)?;
        for (index, cap) in CAPS.into_iter().enumerate() {
            let count = self.sum(|worker| worker.connections_rejected[index].value());
            count_in(&mut family, &[("cap", cap)], count)?;
        }
        let help = "Client connections outside of connections_per_client, because its table was full.";
        page.counter("net_connections_untracked", help, sum(|w| &w.connections_untracked))?;
        page.counter(
            "net_connections_handed_over",
            "Client connections that one worker accepted and another, less loaded, serves.",
            sum(|w| &w.connections_handed),
        )?;
        let help = "Failed accepts by what they were for want of.";
        let mut family = page.open("accept_errors", help, MetricType::Counter)?;
        for (index, reason) in ACCEPT_ERRORS.into_iter().enumerate() {
            count_in(&mut family, &[("reason", reason)], self.sum(|worker| worker.accept_errors[index].value()))?;
        }
        let help = "Client connections that ended before a request of theirs was whole, or was refused.";
        page.counter("net_connections_unused", help, sum(|w| &w.connections_unused))?;
        page.counter("client_glitches", "Legal but odd messages from clients.", sum(|w| &w.client_glitches))?;
        let help = "Client connections closed because of their PROXY header, or for want of one.";
        page.counter("proxy_headers_refused", help, sum(|w| &w.proxy_headers_refused))?;
        let help = "Connections switched to another protocol, such as WebSocket.";
        page.gauge("tunnels_active", help, sum(|w| &w.tunnels_active))?;
        page.counter("tunnels", help, sum(|w| &w.tunnels))?;
        self.encode_handshakes(page)?;
        self.encode_h2(page)
    }

    fn encode_h2(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        let (connections, streams) = (sum(|w| &w.h2_connections_active), sum(|w| &w.h2_streams_active));
        page.gauge("http2_connections_active", "Connections of HTTP/2 open.", connections)?;
        page.gauge("http2_streams_active", "Streams of HTTP/2 that are served.", streams)?;
        page.counter("http2_streams", "Streams of HTTP/2 that clients opened.", sum(|w| &w.h2_streams))?;
        let mut family = page.open("http2_resets", "Streams reset, by whom.", MetricType::Counter)?;
        count_in(&mut family, &[("by", "client")], sum(|w| &w.h2_resets_received))?;
        count_in(&mut family, &[("by", "gateway")], sum(|w| &w.h2_resets_sent))?;
        let mut family = page.open("http2_goaways", "GOAWAYs sent, by error code.", MetricType::Counter)?;
        self.encode_occurred(&mut family, "code", &H2_CODES, |worker| &worker.h2_goaways)?;
        let help = "Connections of HTTP/2 ended for what their clients did too often, by what it was.";
        let mut family = page.open("http2_abuses", help, MetricType::Counter)?;
        self.encode_occurred(&mut family, "kind", &H2_EXCESSES, |worker| &worker.h2_excesses)
    }

    /// One sample for each label that occurred.
    fn encode_occurred(
        &self,
        family: &mut MetricEncoder<'_>,
        name: &str,
        labels: &[&str],
        cells: fn(&WorkerCounters) -> &[Counter],
    ) -> fmt::Result {
        for (index, label) in labels.iter().enumerate() {
            let count = self.sum(|worker| cells(worker)[index].value());
            if count > 0 {
                count_in(family, &[(name, *label)], count)?;
            }
        }
        Ok(())
    }

    fn encode_handshakes(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        let active = sum(|w| &w.tls_handshakes_active);
        page.gauge("tls_handshakes_active", "TLS handshakes with clients under way.", active)?;
        let mut family = page.open("tls_handshakes", "TLS handshakes with clients by kind.", MetricType::Counter)?;
        count_in(&mut family, &[("kind", "full")], sum(|w| &w.tls_handshakes_full))?;
        count_in(&mut family, &[("kind", "resumed")], sum(|w| &w.tls_handshakes_resumed))?;
        let help = "TLS hellos for a name that no certificate of the listener is for; its first one was shown.";
        page.counter("tls_unknown_names", help, self.unknown_names)?;
        let help = "TLS handshakes with clients that failed, by reason; too_many are those that ended for newer ones.";
        let mut family = page.open("tls_handshake_failures", help, MetricType::Counter)?;
        for (index, reason) in self.tls_failures.iter().enumerate().take(TLS_FAILURES) {
            let count = self.sum(|worker| worker.tls_failures[index].value());
            if count > 0 {
                count_in(&mut family, &[("reason", *reason)], count)?;
            }
        }
        count_in(&mut family, &[("reason", "too_many")], sum(|w| &w.tls_handshakes_ousted))
    }

    fn encode_upstream(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        let mut family = page.open("upstream_errors", "Failed attempts upstream by reason.", MetricType::Counter)?;
        self.encode_reasons(&mut family, |worker| &worker.upstream_errors)?;
        let (connects, reuses) = (sum(|w| &w.upstream_connects), sum(|w| &w.upstream_reuses));
        page.counter("upstream_connects", "Connections opened to endpoints.", connects)?;
        page.counter("upstream_reuses", "Attempts on a pooled connection.", reuses)?;
        let help = "Share of attempts on a pooled connection since the start, 0 to 1.";
        let mut family = page.open("upstream_connection_reuse_ratio", help, MetricType::Gauge)?;
        family.encode_gauge(&ratio(reuses, connects + reuses))?;
        let connections = sum(|w| &w.h2_upstream_connections);
        page.gauge("http2_upstream_connections", "Connections of HTTP/2 to endpoints.", connections)?;
        let streams = sum(|w| &w.h2_upstream_streams);
        page.gauge("http2_upstream_streams_active", "Requests on connections of HTTP/2 to endpoints.", streams)?;
        let help = "Connections of HTTP/2 to endpoints ended for what those did too often, by what it was.";
        let mut family = page.open("http2_upstream_abuses", help, MetricType::Counter)?;
        self.encode_occurred(&mut family, "kind", &H2_EXCESSES, |worker| &worker.h2_upstream_excesses)?;
        let help = "Connections to endpoints that carry a request; of HTTP/2, the requests on them.";
        page.gauge("upstream_connections_active", help, sum(|w| &w.upstream_connections_active))?;
        let help = "Connections to endpoints that rest in a pool.";
        page.gauge("upstream_connections_idle", help, sum(|w| &w.upstream_connections_idle))?;
        let help = "Idle connections to endpoints that had ended, or that bytes came on which nobody had asked for.";
        let mut family = page.open("upstream_stale_connections", help, MetricType::Counter)?;
        count_in(&mut family, &[("reason", "closed")], sum(|w| &w.upstream_stale[0]))?;
        count_in(&mut family, &[("reason", "extra_data")], sum(|w| &w.upstream_stale[1]))
    }

    fn encode_retries(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        let mut family = page.open("upstream_retries", "Attempts beyond the first by why.", MetricType::Counter)?;
        for retried in Retried::ALL {
            let count = self.sum(|worker| worker.retries[retried as usize].value());
            count_in(&mut family, &[("reason", retried.name())], count)?;
        }
        let help = "Failed attempts that would be tried again but for this reason.";
        let mut family = page.open("upstream_retries_denied", help, MetricType::Counter)?;
        for denied in NotRetried::ALL {
            let count = self.sum(|worker| worker.retries_denied[denied as usize].value());
            count_in(&mut family, &[("reason", denied.name())], count)?;
        }
        let help = "Requests that wait for a connection to a cluster at its cap.";
        page.gauge("upstream_requests_waiting", help, sum(|w| &w.upstream_waiting))?;
        let help = "Changes of a circuit breaker's state by traffic, by the state entered.";
        let mut family = page.open("circuit_breaker_transitions", help, MetricType::Counter)?;
        count_in(&mut family, &[("to", "closed")], sum(|w| &w.breaker_transitions[0]))?;
        count_in(&mut family, &[("to", "open")], sum(|w| &w.breaker_transitions[1]))?;
        count_in(&mut family, &[("to", "half_open")], sum(|w| &w.breaker_transitions[2]))?;
        page.counter("upstream_ejections", "Endpoints ejected for their errors.", sum(|w| &w.ejections))?;
        let help = "Requests about which a service of authentication was asked.";
        page.counter("external_auth_requests", help, sum(|w| &w.auth_asked))?;
        let help = "Requests about which a service of authentication had no answer.";
        page.counter("external_auth_failures", help, sum(|w| &w.auth_failed))?;
        let mut family = page.open("mirror_requests", "Copies for mirrors by result.", MetricType::Counter)?;
        count_in(&mut family, &[("result", "sent")], sum(|w| &w.mirrors_sent))?;
        count_in(&mut family, &[("result", "failed")], sum(|w| &w.mirrors_failed))?;
        count_in(&mut family, &[("result", "skipped")], sum(|w| &w.mirrors_skipped))
    }

    /// Those with samples of their own, as far as the bound on series goes.
    fn shown_clusters(&self) -> &[ClusterView] {
        &self.clusters[..self.clusters.len().min(limits::ENDPOINT_SERIES)]
    }

    fn encode_clusters(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let help = "Connections of a cluster in use as a share of its max_connections, above 1 after a reload lowered that; 0 without a cap.";
        let mut family = page.open("upstream_connection_saturation_ratio", help, MetricType::Gauge)?;
        for cluster in self.shown_clusters() {
            family.encode_family(&[("cluster", cluster.name.as_str())])?.encode_gauge(&cluster.saturation)?;
        }
        let help = "Connections open to a cluster, idle ones included.";
        let mut family = page.open("upstream_cluster_connections", help, MetricType::Gauge)?;
        for cluster in self.shown_clusters() {
            family.encode_family(&[("cluster", cluster.name.as_str())])?.encode_gauge(&cluster.connections)?;
        }
        let gates =
            || self.shown_clusters().iter().filter_map(|cluster| Some((cluster.name.as_str(), cluster.admission?)));
        let help = "Most requests in flight to a cluster that its adaptive limit lets in.";
        let mut family = page.open("upstream_admission_limit", help, MetricType::Gauge)?;
        for (name, gate) in gates() {
            family.encode_family(&[("cluster", name)])?.encode_gauge(&u64::from(gate.limit))?;
        }
        let help = "Requests to a cluster that its adaptive limit has shed.";
        let mut family = page.open("upstream_admission_shed", help, MetricType::Counter)?;
        for (name, gate) in gates() {
            count_in(&mut family, &[("cluster", name)], gate.shed)?;
        }
        let help = "State of an endpoint's circuit breaker: 0 closed, 1 open, 2 half-open.";
        self.encode_endpoints(page, "circuit_breaker_state", help, |endpoint| endpoint.breaker_state)?;
        let help = "1 when an endpoint may be picked, 0 when something speaks against it.";
        self.encode_endpoints(page, "upstream_endpoint_healthy", help, |endpoint| u64::from(endpoint.fit))?;
        let help = "Requests in flight to an endpoint.";
        self.encode_endpoints(page, "upstream_endpoint_requests_active", help, |endpoint| endpoint.in_flight)?;
        let endpoints = self.clusters.iter().map(|cluster| cluster.endpoints.len() as u64).sum::<u64>();
        let help = "Endpoints without samples of their own, because there are too many; /clusters shows all.";
        page.gauge("upstream_endpoints_omitted", help, endpoints.saturating_sub(limits::ENDPOINT_SERIES as u64))?;
        let mut family = page.open("health_probes", "Active health checks by result.", MetricType::Counter)?;
        count_in(&mut family, &[("result", "ok")], self.probes.0)?;
        count_in(&mut family, &[("result", "failed")], self.probes.1)?;
        let mut family = page.open("dns_lookups", "Name lookups by result.", MetricType::Counter)?;
        count_in(&mut family, &[("result", "ok")], self.lookups.0)?;
        count_in(&mut family, &[("result", "failed")], self.lookups.1)?;
        let mut family = page.open("jwks_fetches", "Fetches of the keys of tokens by result.", MetricType::Counter)?;
        count_in(&mut family, &[("result", "ok")], self.key_fetches.0)?;
        count_in(&mut family, &[("result", "failed")], self.key_fetches.1)
    }

    /// One sample for each endpoint, as far as the bound on series goes.
    fn encode_endpoints(
        &self,
        page: &mut Page<'_, '_>,
        name: &str,
        help: &str,
        value: fn(&EndpointView) -> u64,
    ) -> fmt::Result {
        let mut family = page.open(name, help, MetricType::Gauge)?;
        let endpoints =
            self.clusters.iter().flat_map(|cluster| cluster.endpoints.iter().map(move |one| (cluster, one)));
        for (cluster, endpoint) in endpoints.take(limits::ENDPOINT_SERIES) {
            let labels = [("cluster", cluster.name.as_str()), ("endpoint", endpoint.address.as_str())];
            family.encode_family(&labels)?.encode_gauge(&value(endpoint))?;
        }
        Ok(())
    }

    fn encode_process(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let sum = |cell: fn(&WorkerCounters) -> &Counter| self.sum(|worker| cell(worker).value());
        page.gauge("memory_usage_bytes", "Resident memory of the process in bytes.", self.memory_bytes)?;
        let help = "Memory that the process may use in bytes, 0 without a limit.";
        page.gauge("memory_limit_bytes", help, self.memory_limit_bytes)?;
        let help = "How short memory is: 0 not at all, 1 requests are refused, 2 connections as well.";
        page.gauge("memory_shedding", help, self.memory_shedding)?;
        let help = "When the process started, in seconds since 1970; an upgrade is a start as well.";
        let started_s = Duration::from_millis(self.started_ms).as_secs_f64();
        page.open("process_start_time_seconds", help, MetricType::Gauge)?.encode_gauge(&started_s)?;
        let help = "Tasks alive on a worker: connections, streams of HTTP/2, copies for mirrors, accepting, its tick.";
        let mut family = page.open("worker_tasks", help, MetricType::Gauge)?;
        for (index, worker) in self.workers.iter().enumerate() {
            family.encode_family(&[("worker", index.to_string())])?.encode_gauge(&worker.tasks.value())?;
        }
        let help = "Longest lateness of a worker's tick in seconds, since the process started.";
        let mut family = page.open("worker_stall_seconds_max", help, MetricType::Gauge)?;
        for (index, worker) in self.workers.iter().enumerate() {
            let stall = seconds(worker.stall_max_ns.value());
            family.encode_family(&[("worker", index.to_string())])?.encode_gauge(&stall)?;
        }
        page.counter("worker_stalls", "Ticks of workers that came too late.", sum(|w| &w.stalls))?;
        page.counter(
            "worker_panics",
            "Panics caught; each ended one task, such as a connection or a stream.",
            sum(|w| &w.panics),
        )?;
        page.gauge("worker_buffers", "Buffers lent to connections.", sum(|w| &w.buffers_out))?;
        let dropped = sum(|w| &w.untold[0]) + self.log_dropped;
        page.counter("access_log_dropped", "Access-log lines lost.", dropped)?;
        page.counter("process_log_dropped", "Lines of the process log lost.", self.journal_dropped)?;
        self.encode_spans(page)?;
        self.encode_own(page)?;
        page.gauge("config_epoch", "Epoch of the published configuration.", self.epoch)?;
        self.encode_policy(page)?;
        let help = "Reloads by result; refused are configurations sent by PUT /config that never came to be the file.";
        let mut family = page.open("config_reloads", help, MetricType::Counter)?;
        for (result, count) in
            [("ok", self.reloads.ok), ("error", self.reloads.failed), ("refused", self.reloads.refused)]
        {
            count_in(&mut family, &[("result", result)], count)?;
        }
        let help = "1 when the last reload was published, 0 when it was refused.";
        page.gauge("config_last_reload_success", help, u64::from(self.reloads.last_ok))?;
        let help =
            "Upgrades by result: ok when this process took over from another, error when none could take over from it.";
        let mut family = page.open("upgrades", help, MetricType::Counter)?;
        count_in(&mut family, &[("result", "ok")], self.upgrades.ok)?;
        count_in(&mut family, &[("result", "error")], self.upgrades.failed)?;
        self.rollout.encode(page)
    }

    /// One sample for every reason that occurred.
    fn encode_reasons(
        &self,
        family: &mut MetricEncoder<'_>,
        cells: fn(&WorkerCounters) -> &[Counter; REASONS_MAX],
    ) -> fmt::Result {
        for (index, reason) in self.reasons.iter().enumerate().take(REASONS_MAX) {
            let count = self.sum(|worker| cells(worker)[index].value());
            if count > 0 {
                count_in(family, &[("reason", *reason)], count)?;
            }
        }
        Ok(())
    }
}

/// The page being written.
struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

impl Page<'_, '_> {
    /// Writes the header of a family; a counter is named without its `_total`.
    fn open<'s>(&'s mut self, name: &'s str, help: &str, kind: MetricType) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.encoder.encode_descriptor(name, help, None, kind)
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.open(name, help, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.open(name, help, MetricType::Counter)?.encode_counter::<NoLabelSet, u64, u64>(&value, None)
    }
}

fn count_in<const N: usize>(family: &mut MetricEncoder<'_>, labels: &[(&str, &str); N], count: u64) -> fmt::Result
where
    for<'a> [(&'a str, &'a str); N]: EncodeLabelSet,
{
    family.encode_family(labels)?.encode_counter::<NoLabelSet, u64, u64>(&count, None)
}

#[allow(clippy::cast_precision_loss, reason = "a double holds 104 days of nanoseconds exactly, later it rounds")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_SECOND
}

/// `part / whole`, and 0 of nothing.
#[allow(clippy::cast_precision_loss, reason = "a ratio of counters above 2^53 may round")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

mod own;
mod rollout;
mod stages;
#[cfg(test)]
mod tests;
