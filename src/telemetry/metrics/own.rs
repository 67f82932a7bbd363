//! What the page tells of itself: its readers, and how far its series go.

use std::fmt;

use prometheus_client::metrics::MetricType;

use super::{Page, Scrape, count_in};
use crate::limits;

impl Scrape {
    pub(super) fn encode_own(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let help =
            "Connections to the admin server that were ended: too many, or their peers took nothing for ten seconds.";
        let mut family = page.open("admin_connections_ended", help, MetricType::Counter)?;
        for (why, count) in &self.admin_ended {
            count_in(&mut family, &[("reason", *why)], *count)?;
        }
        let help = "Most values of a label that have series of their own, whatever comes; the rest share one or are told of as omitted.";
        let mut family = page.open("metrics_label_values_max", help, MetricType::Gauge)?;
        for (label, most) in [
            ("client", self.top_clients as u64),
            ("cluster", limits::ENDPOINT_SERIES as u64),
            ("endpoint", limits::ENDPOINT_SERIES as u64),
            ("route", limits::ROUTE_SERIES as u64),
        ] {
            family.encode_family(&[("label", label)])?.encode_gauge(&most)?;
        }
        let help = "Clusters without samples of their own, because there are too many; /clusters shows all.";
        let omitted = self.clusters.len().saturating_sub(limits::ENDPOINT_SERIES) as u64;
        page.gauge("upstream_clusters_omitted", help, omitted)
    }
}
