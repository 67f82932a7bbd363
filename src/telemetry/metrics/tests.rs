use super::*;
use crate::telemetry::{AdmissionView, SideCounts, method_index};

fn rollout() -> RolloutView {
    let side = |requests| {
        let mut side = SideCounts::default().with_durations(1_000, requests);
        side.refused = 1;
        side
    };
    RolloutView {
        is_rejected: false,
        ended: [("promoted", 1), ("rolled_back", 2), ("superseded", 0)],
        sides: Some([("candidate", side(5)), ("current", side(95))]),
    }
}

fn scrape() -> Scrape {
    let workers: Vec<_> = (0..2).map(|_| Arc::new(WorkerCounters::new())).collect();
    workers[0].on_exchange(method_index(b"GET"), 200, Some(0), None, 60_000);
    workers[0].on_exchange(method_index(b"GET"), 200, Some(0), None, 3_000_000);
    workers[1].on_exchange(method_index(b"GET"), 200, Some(1), None, 20_000_000_000);
    workers[1].on_exchange(method_index(b"BREW"), 418, None, None, 60_000);
    workers[0].rejected[1].add(3);
    workers[1].upstream_errors[0].add(2);
    workers[1].cut[0].add(5);
    workers[0].upstream_connects.add(1);
    workers[1].upstream_reuses.add(3);
    workers[0].untold[2].add(4);
    workers[1].stall_max_ns.raise(1_500_000_000);
    Scrape {
        policy_syncs: PolicySyncs::default(),
        rollout: rollout(),
        workers,
        reasons: vec!["connect_refused", "route_not_found"],
        tls_failures: vec!["timeout"],
        store_failures: vec!["resting"],
        routes: vec!["everything".to_owned(), "a\"b".to_owned()],
        max_connections: 50_000,
        routes_omitted: 3,
        top_clients: 1,
        limits_stolen: 7,
        memory_bytes: 1 << 20,
        memory_limit_bytes: 1 << 30,
        memory_shedding: 1,
        started_ms: 1_700_000_000_250,
        epoch: 4,
        reloads: Reloads { ok: 3, failed: 1, refused: 2, last_ok: false },
        upgrades: UpgradeCounts { ok: 1, failed: 2 },
        clusters: vec![ClusterView {
            name: "app".to_owned(),
            balance: "p2c",
            max_connections: 8,
            connections: 5,
            connections_active: 2,
            saturation: 0.25,
            in_flight: 2,
            waiting: 0,
            admission: Some(AdmissionView { limit: 12, in_flight: 3, baseline_us: 250.5, shed: 9 }),
            slow_tiers: Vec::new(),
            endpoints: vec![EndpointView {
                address: "10.0.0.1:80".to_owned(),
                weight: 1,
                priority: 0,
                fit: false,
                unfit: "unfit: breaker",
                probe: "healthy",
                probe_detail: "status 200".to_owned(),
                breaker: "open",
                breaker_state: 1,
                ejected: false,
                resting: false,
                capacity: 8,
                in_flight: 2,
                latency_us: 100,
            }],
        }],
        probes: (11, 2),
        lookups: (5, 1),
        key_fetches: (6, 2),
        spans_exported: 5,
        spans_dropped: vec![("timeout", 2)],
        admin_ended: [("too_many", 3), ("took_nothing", 1)],
        log_dropped: 7,
        journal_dropped: 3,
        unknown_names: 12,
    }
}

#[test]
fn workers_are_summed_under_the_documented_names() {
    let text = render_metrics(scrape(), Format::Prometheus);
    for line in [
        "http_requests_total{method=\"GET\",code=\"200\"} 3",
        "http_requests_total{method=\"OTHER\",code=\"418\"} 1",
        "http_request_duration_seconds_bucket{le=\"0.0001\"} 2",
        "http_request_duration_seconds_bucket{le=\"0.0025\"} 2",
        "http_request_duration_seconds_bucket{le=\"0.005\"} 3",
        "http_request_duration_seconds_bucket{le=\"10.0\"} 3",
        "http_request_duration_seconds_bucket{le=\"+Inf\"} 4",
        "http_request_duration_seconds_count 4",
        "http_requests_active 0",
        "http_route_requests_total{route=\"everything\",class=\"2xx\"} 2",
        "http_route_requests_total{route=\"a\\\"b\",class=\"2xx\"} 1",
        "http_route_requests_total{route=\"other\",class=\"4xx\"} 1",
        "upstream_connection_saturation_ratio{cluster=\"app\"} 0.25",
        "upstream_cluster_connections{cluster=\"app\"} 5",
        "upstream_admission_limit{cluster=\"app\"} 12",
        "upstream_admission_shed_total{cluster=\"app\"} 9",
        "circuit_breaker_state{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 1",
        "circuit_breaker_transitions_total{to=\"half_open\"} 0",
        "upstream_endpoint_healthy{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 0",
        "upstream_endpoint_requests_active{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 2",
        "health_probes_total{result=\"failed\"} 2",
        "dns_lookups_total{result=\"ok\"} 5",
        "jwks_fetches_total{result=\"failed\"} 2",
        "mirror_requests_total{result=\"sent\"} 0",
        "gateway_rejected_requests_total{reason=\"route_not_found\"} 3",
        "upstream_errors_total{reason=\"connect_refused\"} 2",
        "http_responses_cut_total{reason=\"connect_refused\"} 5",
        "net_connections_active 0",
        "net_connections_idle 0",
        "max_connections 50000",
        "memory_usage_bytes 1048576",
        "upstream_connects_total 1",
        "upstream_reuses_total 3",
        "upstream_connection_reuse_ratio 0.75",
        "worker_tasks{worker=\"1\"} 0",
        "worker_stall_seconds_max{worker=\"0\"} 0.0",
        "worker_stall_seconds_max{worker=\"1\"} 1.5",
        "worker_panics_total 0",
        "access_log_dropped_total 7",
        "process_log_dropped_total 3",
        "tls_unknown_names_total 12",
        "traces_exported_total 5",
        "http_routes_omitted 3",
        "traces_dropped_total{reason=\"ring_full\"} 0",
        "traces_dropped_total{reason=\"too_many_attempts\"} 4",
        "traces_dropped_total{reason=\"timeout\"} 2",
        "http_stage_duration_seconds_count{stage=\"first_byte\"} 0",
        "accept_errors_total{reason=\"descriptors\"} 0",
        "net_connections_unused_total 0",
        "client_aborts_total 0",
        "config_epoch 4",
        "config_reloads_total{result=\"ok\"} 3",
        "config_reloads_total{result=\"error\"} 1",
        "config_reloads_total{result=\"refused\"} 2",
        "config_last_reload_success 0",
        "process_start_time_seconds 1700000000.25",
        "upgrades_total{result=\"ok\"} 1",
        "upgrades_total{result=\"error\"} 2",
        "gateway_rollout_running 1",
        "gateway_rollout_files_rolled_back 0",
        "gateway_rollouts_total{outcome=\"rolled_back\"} 2",
        "gateway_rollout_connections_total{side=\"current\"} 0",
        "gateway_rollout_requests_total{side=\"candidate\",result=\"passed\"} 4",
        "gateway_rollout_requests_total{side=\"current\",result=\"refused\"} 1",
        "gateway_rollout_p99_seconds{side=\"current\"} 0.001024",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// The rules of the text format 0.0.4 that a strict reader enforces.
#[test]
fn the_text_is_valid_prometheus() {
    let mut scrape = scrape();
    let endpoints = &mut scrape.clusters[0].endpoints;
    // Spoken to in another way as well, as while a trial changes that.
    endpoints.push(EndpointView { address: "10.0.0.2:80".to_owned(), ..endpoints[0].clone() });
    endpoints.push(EndpointView { fit: true, breaker_state: 2, in_flight: 3, ..endpoints[0].clone() });
    let text = render_metrics(scrape, Format::Prometheus);
    for sample in [
        "circuit_breaker_state{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 1",
        "upstream_endpoint_healthy{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 1",
        "upstream_endpoint_requests_active{cluster=\"app\",endpoint=\"10.0.0.1:80\"} 5",
        "upstream_endpoints_omitted 0",
    ] {
        assert!(text.lines().any(|line| line == sample), "{sample} is not in\n{text}");
    }
    assert!(text.ends_with('\n') && !text.contains("# EOF") && !text.contains("# UNIT"));
    let mut family: Option<(String, String)> = None;
    let (mut seen, mut samples) = (std::collections::HashSet::new(), std::collections::HashSet::new());
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.') && !help.ends_with(".."), "{line}");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(seen.insert(name.to_owned()), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            family = Some((name.to_owned(), kind.to_owned()));
            continue;
        }
        let (name, kind) = family.as_ref().unwrap();
        let sample = line.split(['{', ' ']).next().unwrap();
        let fits = match kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].iter().any(|suffix| sample == format!("{name}{suffix}")),
            _ => sample == name,
        };
        assert!(fits, "{line} under {name}");
        let (labelled, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(samples.insert(labelled), "{labelled} twice");
    }
    assert!(seen.len() > 25);
}

#[test]
fn openmetrics_has_its_end_mark_and_its_own_counter_headers() {
    let text = render_metrics(scrape(), Format::OpenMetrics);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("# TYPE http_requests counter\n"));
}

#[test]
fn openmetrics_goes_only_to_those_who_name_it() {
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
    assert_eq!(Format::accepted(""), Format::Prometheus);
    assert_eq!(Format::accepted("application/openmetrics-text;version=1.0.0;q=0.5"), Format::OpenMetrics);
}

#[test]
fn nothing_divided_by_nothing_is_zero() {
    assert!(ratio(0, 0).abs() < f64::EPSILON);
    assert!((ratio(1, 4) - 0.25).abs() < f64::EPSILON);
}

#[test]
fn endpoints_beyond_the_bound_have_no_samples_and_are_counted() {
    let samples = |endpoints: usize| {
        let mut scrape = scrape();
        scrape.clusters[0].endpoints = (0..endpoints)
            .map(|number| EndpointView {
                address: format!("10.0.0.1:{number}"),
                ..scrape.clusters[0].endpoints[0].clone()
            })
            .collect();
        let page = render_metrics(scrape, Format::Prometheus);
        let omitted = page.lines().find_map(|line| line.strip_prefix("upstream_endpoints_omitted ")).map(str::to_owned);
        (page.matches("circuit_breaker_state{").count(), omitted.expect("a sample"))
    };
    assert_eq!(samples(limits::ENDPOINT_SERIES), (limits::ENDPOINT_SERIES, "0".to_owned()));
    assert_eq!(samples(limits::ENDPOINT_SERIES + 3), (limits::ENDPOINT_SERIES, "3".to_owned()));
}

/// What says how far the series go says the same as the page, for 1,024 clusters and for more.
#[test]
fn clusters_beyond_the_bound_have_no_samples_and_are_counted() {
    let samples = |clusters: usize| {
        let mut scrape = scrape();
        let one = ClusterView { endpoints: Vec::new(), ..scrape.clusters[0].clone() };
        scrape.clusters =
            (0..clusters).map(|number| ClusterView { name: format!("c{number}"), ..one.clone() }).collect();
        let page = render_metrics(scrape, Format::Prometheus);
        let value = |sample: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(sample)).expect("a sample");
            line.trim().parse::<usize>().expect("a number")
        };
        let families = [
            "upstream_connection_saturation_ratio{",
            "upstream_cluster_connections{",
            "upstream_admission_limit{",
            "upstream_admission_shed_total{",
        ];
        let shown = families.map(|family| page.matches(family).count());
        let most = value("metrics_label_values_max{label=\"cluster\"}");
        assert!(shown.iter().all(|count| *count == clusters.min(most)), "{shown:?} of {clusters}, at most {most}");
        (most, value("upstream_clusters_omitted"))
    };
    let most = limits::ENDPOINT_SERIES;
    assert_eq!(samples(3), (most, 0));
    assert_eq!(samples(most), (most, 0));
    assert_eq!(samples(most + 5), (most, 5));
}

#[test]
fn every_label_that_grows_with_what_comes_has_its_bound_on_the_page() {
    let page = render_metrics(scrape(), Format::Prometheus);
    for (label, most) in [
        ("client", 1),
        ("cluster", limits::ENDPOINT_SERIES),
        ("endpoint", limits::ENDPOINT_SERIES),
        ("route", limits::ROUTE_SERIES),
    ] {
        let line = format!("metrics_label_values_max{{label=\"{label}\"}} {most}");
        assert!(page.lines().any(|one| one == line), "{line} is missing");
    }
}
