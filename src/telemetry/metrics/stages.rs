//! The durations of stages on the page, and what became of spans.

use std::fmt;

use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::MetricType;

use super::{Page, Scrape, count_in, seconds};
use crate::telemetry::stages::{STAGE_BOUNDS_NS, STAGES};

impl Scrape {
    pub(super) fn encode_stages(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let help = "Seconds that a stage of an exchange, or of its connection before it, took; limiter is part of admit, and of route and reuse one in 16 is timed.";
        let mut family = page.open("http_stage_duration_seconds", help, MetricType::Histogram)?;
        for (stage, name) in STAGES.into_iter().enumerate() {
            let buckets: Vec<(f64, u64)> = (0..=STAGE_BOUNDS_NS.len())
                .map(|index| {
                    let bound = STAGE_BOUNDS_NS.get(index).map_or(f64::INFINITY, |ns| seconds(*ns));
                    (bound, self.sum(|worker| worker.stages.bucket(stage, index)))
                })
                .collect();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = seconds(self.sum(|worker| worker.stages.sum_ns(stage)));
            family.encode_family(&[("stage", name)])?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    pub(super) fn encode_spans(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        page.counter("traces_exported", "Spans that the collector of traces took.", self.spans_exported)?;
        let help = "Spans that never came to be the collector's, by why.";
        let mut family = page.open("traces_dropped", help, MetricType::Counter)?;
        count_in(&mut family, &[("reason", "ring_full")], self.sum(|worker| worker.untold[1].value()))?;
        let left_out = self.sum(|worker| worker.untold[2].value());
        count_in(&mut family, &[("reason", "too_many_attempts")], left_out)?;
        for (why, count) in &self.spans_dropped {
            count_in(&mut family, &[("reason", *why)], *count)?;
        }
        Ok(())
    }
}
