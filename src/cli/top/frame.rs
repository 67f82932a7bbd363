//! What is shown of two looks at a gateway.

use std::time::Duration;

use serde_json::Value;

use super::super::status::lasting;
use super::sample::Sample;

/// Characters of a bar.
const BAR: usize = 10;

/// The lines of one second.
pub(super) fn frame(before: &Sample, after: &Sample) -> Vec<String> {
    let seconds = Duration::from_nanos(after.at_ns.saturating_sub(before.at_ns)).as_secs_f64().max(1e-3);
    let mut lines = vec![header(&after.status)];
    lines.push(requests(before, after, seconds));
    lines.push(rejected(before, after, seconds));
    if let Some(error) = after.status["last_reload"]["error"].as_str() {
        lines.push(format!("reload    REFUSED: {}", error.lines().next().unwrap_or_default()));
    }
    if let Some(error) = after.status["policy"]["error"].as_str() {
        lines.push(format!("policy    TROUBLE: {error}"));
    }
    lines.extend(workers(&after.status));
    for cluster in list(&after.clusters) {
        lines.extend(self::cluster(cluster, &after.latency));
    }
    lines.iter().map(|line| printable(line)).collect()
}

fn header(status: &Value) -> String {
    let word = |key: &str| status[key].as_str().unwrap_or_default();
    let state = match (status["draining"].as_bool(), status["ready"].as_bool()) {
        (Some(true), _) => "draining",
        (_, Some(true)) => "ready",
        _ => "NOT READY",
    };
    let up = lasting(status["uptime_seconds"].as_u64().unwrap_or_default());
    format!("ringgate  {}, pid {}, up {up}, epoch {}, {state}", word("version"), status["pid"], status["epoch"])
}

fn requests(before: &Sample, after: &Sample, seconds: f64) -> String {
    let rate = |name: &str| (after.metrics.sum(name) - before.metrics.sum(name)).max(0.0) / seconds;
    let quantile = |share| {
        let at = after.metrics.quantile(&before.metrics, "http_request_duration_seconds", share);
        at.map_or("-".to_owned(), |seconds| millis(seconds * 1e3))
    };
    format!(
        "requests  {:.0}/s, {:.0} in progress, p50 {}, p99 {}; {:.0} connections a second",
        rate("http_requests_total"),
        after.metrics.sum("http_requests_active"),
        quantile(0.5),
        quantile(0.99),
        rate("net_connections_accepted_total"),
    )
}

fn rejected(before: &Sample, after: &Sample, seconds: f64) -> String {
    let more = after.metrics.more(&before.metrics, "gateway_rejected_requests_total", "reason");
    let reasons: Vec<_> = more.iter().map(|(reason, count)| format!("{reason} {:.0}/s", count / seconds)).collect();
    format!("rejected  {}", if reasons.is_empty() { "nothing".to_owned() } else { reasons.join(", ") })
}

/// Each with its share of the busiest one's connections.
fn workers(status: &Value) -> Vec<String> {
    let count = |worker: &Value, key: &str| worker[key].as_u64().unwrap_or_default();
    let most = list(&status["workers"]).iter().map(|worker| count(worker, "connections_active")).max().unwrap_or(0);
    let line = |worker: &Value| {
        let (connections, idle) = (count(worker, "connections_active"), count(worker, "connections_idle"));
        let cpu = worker["cpu"].as_u64().map_or("any".to_owned(), |cpu| cpu.to_string());
        let (bar, requests) = (bar(ratio(connections, most)), count(worker, "requests_active"));
        format!(
            "worker {:<2} cpu {cpu:<3} {bar} {connections} connections, {idle} idle, {requests} requests",
            count(worker, "index")
        )
    };
    list(&status["workers"]).iter().map(line).collect()
}

fn cluster(cluster: &Value, latency: &Value) -> Vec<String> {
    let word = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let name = word(cluster, "name");
    let (active, most) = (cluster["connections_active"].as_u64(), cluster["max_connections"].as_u64());
    let (active, most) = (active.unwrap_or_default(), most.unwrap_or_default());
    let saturation = match most {
        0 => String::new(),
        most => format!(" {} {active} of {most} connections,", bar(ratio(active, most))),
    };
    let spread = list(&latency["clusters"]).iter().find(|shown| shown["name"] == name.as_str());
    let spread = spread.map(|shown| &shown["minute"]).filter(|minute| minute["count"].as_u64() > Some(0));
    let spread = spread.map_or(String::new(), |minute| {
        let at = |key: &str| millis(minute[key].as_f64().unwrap_or_default() / 1e3);
        format!(", p50 {}, p99 {} in the last minute", at("p50_us"), at("p99_us"))
    });
    let (balance, in_flight, waiting) = (word(cluster, "balance"), &cluster["in_flight"], &cluster["waiting"]);
    let mut lines =
        vec![format!("cluster   {name} ({balance}):{saturation} {in_flight} in flight, {waiting} waiting{spread}")];
    for endpoint in list(&cluster["endpoints"]) {
        let fit = if endpoint["fit"].as_bool() == Some(true) { "fit".to_owned() } else { word(endpoint, "unfit") };
        let latency = endpoint["latency_us"].as_f64().filter(|us| *us > 0.0);
        let latency = latency.map_or(String::new(), |us| format!(", {} away", millis(us / 1e3)));
        let detail = match word(endpoint, "probe_detail") {
            detail if detail.is_empty() => String::new(),
            detail => format!(", last probe: {detail}"),
        };
        lines.push(format!(
            "          {:<24} {fit}, {}, breaker {}, weight {}, {} in flight{latency}{detail}",
            word(endpoint, "address"),
            word(endpoint, "probe"),
            word(endpoint, "breaker"),
            endpoint["weight"],
            endpoint["in_flight"],
        ));
    }
    lines
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[allow(clippy::cast_precision_loss, reason = "a bar has ten steps")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

fn bar(share: f64) -> String {
    let tenths: usize =
        (1..=BAR).filter(|tenth| share * 10.0 >= f64::from(u8::try_from(*tenth).unwrap_or(0)) - 0.5).count();
    format!("[{}{}]", "#".repeat(tenths), ".".repeat(BAR - tenths))
}

fn millis(ms: f64) -> String {
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1e3),
    }
}

/// Nothing of what a peer said may steer a terminal.
fn printable(line: &str) -> String {
    line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::sample::Metrics;
    use super::*;

    fn sample(at_ns: u64, metrics: &str) -> Sample {
        Sample {
            at_ns,
            status: json!({
                "version": "1.0", "pid": 7, "uptime_seconds": 61, "epoch": 3, "ready": false, "draining": false,
                "workers": [
                    {"index": 0, "cpu": 0, "connections_active": 8, "connections_idle": 6, "requests_active": 2},
                    {"index": 1, "cpu": null, "connections_active": 4, "connections_idle": 4, "requests_active": 0},
                ],
                "last_reload": {"error": "error: gateway.yaml:1:1: wrong\n"},
                "policy": {"error": "a\u{1b}[2Jb"},
            }),
            clusters: json!([
                {"name": "app", "balance": "p2c", "connections_active": 3, "max_connections": 4, "in_flight": 3, "waiting": 1,
                    "endpoints": [{"address": "10.0.0.1:80", "fit": false, "unfit": "breaker", "probe": "healthy",
                        "breaker": "open", "weight": 1, "in_flight": 3, "latency_us": 400, "probe_detail": "refused"}]},
                {"name": "web", "balance": "round_robin", "connections_active": 0, "max_connections": 0, "in_flight": 0,
                    "waiting": 0, "endpoints": []},
            ]),
            latency: json!({"clusters": [{"name": "app", "minute": {"count": 5, "p50_us": 500.0, "p99_us": 25_000.0}}]}),
            metrics: Metrics::parse(metrics),
        }
    }

    #[test]
    fn a_second_is_told_in_lines() {
        let before = sample(1, "http_requests_total{code=\"200\"} 100\n");
        let after = sample(
            2_000_000_001,
            "http_requests_total{code=\"200\"} 300\nhttp_requests_total{code=\"429\"} 20\nhttp_requests_active 5\n\
             http_request_duration_seconds_bucket{le=\"0.001\"} 200\nhttp_request_duration_seconds_bucket{le=\"+Inf\"} 200\n\
             gateway_rejected_requests_total{reason=\"rate_limited\"} 20\nnet_connections_accepted_total 6\n",
        );
        let expected = "\
ringgate  1.0, pid 7, up 1m 1s, epoch 3, NOT READY
requests  110/s, 5 in progress, p50 0.50 ms, p99 0.99 ms; 3 connections a second
rejected  rate_limited 10/s
reload    REFUSED: error: gateway.yaml:1:1: wrong
policy    TROUBLE: a [2Jb
worker 0  cpu 0   [##########] 8 connections, 6 idle, 2 requests
worker 1  cpu any [#####.....] 4 connections, 4 idle, 0 requests
cluster   app (p2c): [########..] 3 of 4 connections, 3 in flight, 1 waiting, p50 0.50 ms, p99 25 ms in the last minute
          10.0.0.1:80              breaker, healthy, breaker open, weight 1, 3 in flight, 0.40 ms away, last probe: refused
cluster   web (round_robin): 0 in flight, 0 waiting";
        assert_eq!(frame(&before, &after).join("\n"), expected);
        let quiet = frame(&after, &after);
        assert_eq!(
            quiet[1..3],
            ["requests  0/s, 5 in progress, p50 -, p99 -; 0 connections a second", "rejected  nothing"]
        );
    }
}
