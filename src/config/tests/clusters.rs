//! Clusters: what chooses among endpoints, what guards them, and how their names are resolved.

use super::*;

/// A configuration whose one cluster holds this as well.
fn cluster(keys: &str) -> Cluster {
    Memory::of(&with(keys)).config().clusters.remove(0)
}

fn with(keys: &str) -> String {
    MINIMAL.replace("clusters: { app: {", &format!("clusters: {{ app: {{ {keys}, "))
}

/// The warnings of a legal configuration, without their excerpts.
fn warnings(text: &str) -> Vec<String> {
    let loaded = Memory::of(text).load().unwrap_or_else(|report| panic!("refused:\n{report}"));
    loaded.warnings.problems.into_iter().map(|problem| problem.message).collect()
}

#[test]
fn a_cluster_guards_nothing_unless_told() {
    let cluster = Memory::of(MINIMAL).config().clusters.remove(0);
    assert_eq!((cluster.balance, &cluster.hash_key), (Balance::RoundRobin, &None));
    assert_eq!((cluster.max_connections, cluster.queue, cluster.slow_start), (0, None, None));
    assert_eq!((cluster.none_healthy, cluster.required, cluster.max_latency), (NoneHealthy::FailOpen, false, None));
    assert_eq!((cluster.active, cluster.passive, cluster.breaker), (None, None, None));
    assert_eq!(cluster.endpoints, [endpoint("10.0.0.7", 3000)]);
}

#[test]
fn empty_sections_switch_their_part_on_with_its_defaults() {
    let cluster = cluster("health: { active: { kind: http }, passive: { max_ejected: 100% } }, breaker: {}");
    let active = ActiveHealth {
        kind: ProbeKind::Http,
        path: "/".to_owned(),
        host: None,
        service: String::new(),
        port: None,
        interval: Duration::from_secs(5),
        timeout: Duration::from_secs(2),
        expect: vec![(200, 200)],
        healthy_after: 2,
        unhealthy_after: 3,
        require_probe: false,
        tls: ClusterTls::default(),
    };
    assert_eq!(cluster.active, Some(active));
    let passive = PassiveHealth {
        window: Duration::from_secs(30),
        error_rate: 0.5,
        min_requests: 20,
        eject_for: Duration::from_secs(10),
        max_ejected: 1.0,
    };
    assert_eq!(cluster.passive, Some(passive));
    let breaker = Breaker {
        window: Duration::from_secs(10),
        error_rate: 0.5,
        min_requests: 20,
        consecutive: None,
        open_for: Duration::from_secs(15),
        probes: 1,
        close_after: 3,
    };
    assert_eq!(cluster.breaker, Some(breaker));
}

#[test]
fn every_balancer_has_its_name() {
    let named = [
        ("round_robin", Balance::RoundRobin),
        ("weighted_round_robin", Balance::WeightedRoundRobin),
        ("least_connections", Balance::LeastConnections),
        ("least_saturated", Balance::LeastSaturated),
        ("p2c", Balance::P2c),
    ];
    for (name, balance) in named {
        assert_eq!(cluster(&format!("balance: {name}")).balance, balance);
    }
    assert_eq!(cluster("balance: consistent_hash, hash_key: path").balance, Balance::ConsistentHash);
}

#[test]
fn a_hash_key_is_a_word_a_field_or_a_cookie() {
    let key = |key: &str| cluster(&format!("balance: consistent_hash, hash_key: {key}")).hash_key;
    assert_eq!(key("client_ip"), Some(HashKey::ClientIp));
    assert_eq!(key("path"), Some(HashKey::Path));
    assert_eq!(key("{ header: X-User }"), Some(HashKey::Header("x-user".to_owned())));
    assert_eq!(key("{ cookie: SID }"), Some(HashKey::Cookie("SID".to_owned())));
    let text = with("balance: consistent_hash, hash_key: '${KEY}'");
    let config = Memory::of(&text).variable("KEY", "client_ip").config();
    assert_eq!(config.clusters[0].hash_key, Some(HashKey::ClientIp));
}

#[test]
fn caps_queues_and_tiers_come_out_as_written() {
    let cluster = cluster(
        "max_connections: 512, queue: { max: 256, timeout: 200ms }, slow_start: 30s, none_healthy: fail_closed, required: on",
    );
    assert_eq!(cluster.max_connections, 512);
    assert_eq!(cluster.queue, Some(Queue { max: 256, timeout: Duration::from_millis(200) }));
    assert_eq!(cluster.slow_start, Some(Duration::from_secs(30)));
    assert_eq!((cluster.none_healthy, cluster.required), (NoneHealthy::FailClosed, true));
    let text = MINIMAL.replace(
        "[{ url: 'http://10.0.0.7:3000' }]",
        "[{ url: 'http://10.0.0.7:3000', weight: 0 }, { url: 'http://a.b', weight: 1000, priority: 63, dns_ttl_max: 9s }], balance: p2c",
    );
    let endpoints = Memory::of(&text).config().clusters.remove(0).endpoints;
    assert_eq!((endpoints[0].weight, endpoints[0].priority), (0, 0));
    assert_eq!((endpoints[1].weight, endpoints[1].priority), (1000, 63));
    assert_eq!(endpoints[1].dns_ttl_max, Some(Duration::from_secs(9)));
}

#[test]
fn the_timeout_of_a_probe_that_is_left_out_fits_its_interval() {
    let active = |keys: &str| cluster(&format!("health: {{ active: {{ kind: tcp, {keys} }} }}")).active.expect("given");
    assert_eq!(active("interval: 500ms").timeout, Duration::from_millis(500));
    assert_eq!(active("interval: 9s").timeout, Duration::from_secs(2));
    assert_eq!(active("interval: 9s, timeout: 9s").timeout, Duration::from_secs(9));
}

#[test]
fn expected_statuses_are_one_several_or_a_range() {
    let expect = |expect: &str| {
        cluster(&format!("health: {{ active: {{ kind: http, expect: {expect} }} }}")).active.expect("given").expect
    };
    assert_eq!(expect("204"), [(204, 204)]);
    assert_eq!(expect("200-399"), [(200, 399)]);
    assert_eq!(expect("[200, 204, '300-399']"), [(200, 200), (204, 204), (300, 399)]);
}

#[test]
fn a_file_of_certificates_is_read_beside_the_configuration_and_watched() {
    let text = with("health: { active: { kind: https, ca: ca.crt, server_name: A.internal, port: 8443 } }");
    let loaded = Memory::of(&text).file("etc/ca.crt", tls::self_signed(&["a.internal"]).0).load().expect("legal");
    let active = loaded.config.clusters[0].active.clone().expect("given");
    assert_eq!(active.tls.ca.map(|ca| ca.roots().len()), Some(1));
    assert_eq!((active.tls.server_name.as_deref(), active.port), (Some("a.internal"), Some(8443)));
    assert_eq!(loaded.files, [PathBuf::from("etc/ca.crt"), PathBuf::from("etc/gateway.yaml")]);
    let report = Memory::of(&text).report();
    assert!(report.contains("cannot read the file `ca.crt`: "), "{report}");
    let report = Memory::of(&text).file("etc/ca.crt", tls::self_signed(&["a.internal"]).1).report();
    assert!(report.contains("the file holds no certificate in `ca`"), "{report}");
}

#[test]
fn name_servers_and_their_times_come_out_as_written() {
    let text = MINIMAL.to_owned()
        + "dns: { servers: [127.0.0.1, '127.0.0.1:5353', '[::1]:53'], timeout: 1s, ttl_min: 2s, ttl_max: 2s }\n";
    let dns = Memory::of(&text).config().dns;
    let servers: Vec<String> = dns.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:53", "127.0.0.1:5353", "[::1]:53"]);
    assert_eq!((dns.ttl_min, dns.ttl_max), (Duration::from_secs(2), Duration::from_secs(2)));
}

#[test]
fn fewer_connections_than_workers_are_legal_but_slow() {
    let text = |workers: &str| format!("runtime: {{ workers: {workers} }}\n{}", with("max_connections: 3"));
    assert_eq!(warnings(&text("4")).len(), 1);
    assert_eq!(warnings(&text("[0, 1, 2, 3]")).len(), 1);
    assert_eq!(warnings(&text("3")), Vec::<String>::new());
    assert_eq!(warnings(&text("auto")), Vec::<String>::new());
}

#[test]
fn endpoints_that_can_never_be_ejected_are_warned_of_only_when_they_are_known() {
    let passive = "health: { passive: {} }";
    assert_eq!(warnings(&with(passive)), ["`max_ejected` is less than one of 1 endpoint in `health` of cluster `app`"]);
    let named = with(passive).replace("10.0.0.7", "orders.internal");
    assert_eq!(warnings(&named), Vec::<String>::new());
    let two = with(passive).replace("[{ url", "[{ url: 'http://10.0.0.8' }, { url");
    assert_eq!(warnings(&two), Vec::<String>::new());
}

#[test]
fn a_refused_value_does_not_make_its_section_look_absent() {
    let report = Memory::of(&with("max_connections: many, queue: { max: 1, timeout: 1s }")).report();
    assert!(report.ends_with("1 error\n"), "{report}");
    let report = Memory::of(&with("max_connections: [1], queue: { max: 1, timeout: 1s }")).report();
    assert!(report.ends_with("1 error\n"), "{report}");
    let report = Memory::of(&with("balance: consistent_hash, hash_key: { header: 'a b' }")).report();
    assert!(report.ends_with("1 error\n"), "{report}");
    let report = Memory::of(&with("balance: random, hash_key: path, slow_start: 1s")).report();
    assert!(report.ends_with("1 error\n"), "{report}");
}
