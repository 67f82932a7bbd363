//! One look at a gateway.

use hyper::Method;
use serde_json::Value;

use super::super::Error;
use super::super::admin::Site;
use crate::clock;

/// What the admin server told.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at_ns: u64,
    pub(super) status: Value,
    /// A list.
    pub(super) clusters: Value,
    /// Percentiles by cluster; nothing where the gateway does not tell them.
    pub(super) latency: Value,
    pub(super) metrics: Metrics,
}

impl Sample {
    /// Asks for all pages.
    pub(super) fn of(site: &Site) -> Result<Self, Error> {
        let metrics = page(site, "/metrics")?;
        let at_ns = clock::now_ns();
        let parsed = |path: &str, body: &str| {
            serde_json::from_str::<Value>(body).map_err(|error| Error::Runtime(format!("{path}: {error}")))
        };
        let status = parsed("/status", &page(site, "/status")?)?;
        let clusters = parsed("/clusters", &page(site, "/clusters")?)?["clusters"].take();
        let latency = site.ask(Method::GET, "/latency", None)?;
        let latency = if latency.status == 200 { parsed("/latency", &latency.body)? } else { Value::Null };
        Ok(Self { at_ns, status, clusters, latency, metrics: Metrics::parse(&metrics) })
    }
}

fn page(site: &Site, path: &str) -> Result<String, Error> {
    let answer = site.ask(Method::GET, path, None)?;
    match answer.status {
        200 => Ok(answer.body),
        status => Err(Error::Runtime(format!("{path}: answered with {status}: {}", answer.body.trim()))),
    }
}

/// The samples of `/metrics` in the order told: name, labels as written, value.
#[derive(Debug, Default)]
pub(super) struct Metrics(Vec<(String, String, f64)>);

impl Metrics {
    /// Reads the text format of Prometheus; what is none is left out.
    pub(super) fn parse(page: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}')?),
                None => (series, ""),
            };
            Some((name.to_owned(), labels.to_owned(), value.parse().ok()?))
        };
        Self(page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    /// Every sample of a name: the value of its one label that counts, and its own.
    fn of<'a>(&'a self, name: &'a str, label: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let value = move |labels: &'a str| {
            labels.split(',').find_map(|pair| pair.strip_prefix(label)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        self.0
            .iter()
            .filter(move |(known, ..)| known == name)
            .map(move |(_, labels, count)| (value(labels).unwrap_or_default(), *count))
    }

    /// The sum of all samples of a name.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.of(name, "").map(|(_, count)| count).sum()
    }

    /// What each label of a name counts more than before, the most first.
    pub(super) fn more(&self, before: &Self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut more: Vec<(String, f64)> = Vec::new();
        for (value, count) in self.of(name, label) {
            let known: f64 = before.of(name, label).filter(|(of, _)| *of == value).map(|(_, count)| count).sum();
            if count > known {
                more.push((value.to_owned(), count - known));
            }
        }
        more.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        more
    }

    /// The bounds of a histogram, and how many more are not above each than before.
    fn buckets(&self, before: &Self, name: &str) -> Vec<(f64, f64)> {
        let name = format!("{name}_bucket");
        let known: Vec<(f64, f64)> = before.of(&name, "le").filter_map(bucket).collect();
        let mut buckets: Vec<(f64, f64)> = self.of(&name, "le").filter_map(bucket).collect();
        for (bound, count) in &mut buckets {
            *count -= known.iter().find(|(of, _)| of.total_cmp(bound).is_eq()).map_or(0.0, |(_, count)| *count);
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        buckets
    }

    /// The bound below which this share of what a histogram counted since `before` lies; `None` if that is nothing.
    pub(super) fn quantile(&self, before: &Self, name: &str, share: f64) -> Option<f64> {
        let buckets = self.buckets(before, name);
        let all = buckets.last()?.1;
        let (mut floor, mut below) = (0.0, 0.0);
        for (bound, count) in buckets.into_iter().filter(|_| all > 0.0) {
            if count >= share * all {
                // Spread evenly over the bucket; the last one has no end.
                let part = if count > below { (share * all - below) / (count - below) } else { 1.0 };
                return Some(if bound.is_finite() { floor + (bound - floor) * part } else { floor });
            }
            (floor, below) = (bound, count);
        }
        None
    }
}

fn bucket((bound, count): (&str, f64)) -> Option<(f64, f64)> {
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    Some((bound, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# HELP x\nrejected_total{reason=\"a\"} 5\nrejected_total{reason=\"b\",x=\"1\"} 7\nplain 3\nodd\n";

    #[test]
    fn samples_are_read_by_name_and_label() {
        let (before, after) = (Metrics::parse("rejected_total{reason=\"b\"} 1\n"), Metrics::parse(PAGE));
        assert!((after.sum("rejected_total") - 12.0).abs() < 1e-9 && (after.sum("plain") - 3.0).abs() < 1e-9);
        let more = after.more(&before, "rejected_total", "reason");
        assert_eq!(more, [("b".to_owned(), 6.0), ("a".to_owned(), 5.0)]);
        assert_eq!(after.more(&after, "rejected_total", "reason"), []);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_that_holds_it() {
        let page = |counts: [u32; 3]| {
            let bounds = ["0.001", "0.01", "+Inf"];
            let lines = bounds.iter().zip(counts).map(|(le, count)| format!("d_bucket{{le=\"{le}\"}} {count}\n"));
            Metrics::parse(&lines.collect::<String>())
        };
        let (before, after) = (page([10, 10, 10]), page([60, 110, 110]));
        let quantile = |share| after.quantile(&before, "d", share);
        assert_eq!(quantile(0.5), Some(0.001));
        assert!(quantile(0.75).is_some_and(|at| (at - 0.0055).abs() < 1e-9), "{:?}", quantile(0.75));
        assert_eq!(page([0, 0, 5]).quantile(&page([0; 3]), "d", 0.5), Some(0.01), "as far as is known");
        assert_eq!(before.quantile(&before, "d", 0.5), None);
    }
}
