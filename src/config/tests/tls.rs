//! TLS of listeners and clusters: files in memory to what is believed, and what is watched.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate for these names that is signed by itself, and its key, both in PEM.
pub(super) fn self_signed(names: &[&str]) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new(names).unwrap().self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// A configuration with these entries of its listener and of its cluster.
fn with(listener: &str, cluster: &str, url: &str) -> Memory {
    Memory::of(&format!(
        "version: 1\nlisteners: {{ web: {{ address: ':8443'{listener} }} }}\n\
         clusters: {{ app: {{ endpoints: [{{ url: '{url}' }}]{cluster} }} }}\nroutes: [{{ name: all, cluster: app }}]\n"
    ))
}

const PAIR: &str = ", tls: { certificates: [{ cert: a.crt, key: a.key }] }";
const PLAIN: &str = "http://10.0.0.7:3000";

/// The files of `a`, for these names.
fn pair(memory: Memory, names: &[&str]) -> Memory {
    let (cert, key) = self_signed(names);
    memory.file("etc/a.crt", cert).file("etc/a.key", key)
}

#[test]
fn a_listener_speaks_tls_from_1_2_on_and_http_2_unless_less_is_said() {
    let config = pair(with(PAIR, "", PLAIN), &["a.example", "*.A.example"]).config();
    let listener = &config.listeners[0];
    let tls = listener.tls.as_ref().expect("given");
    assert_eq!((tls.min_version, &tls.client_ca), (TlsVersion::Tls12, &None));
    assert_eq!(tls.certificates[0].names(), ["a.example", "*.a.example"]);
    assert_eq!(tls.certificates[0].certified().cert.len(), 1);
    assert_eq!(listener.protocols, [Protocol::Http2, Protocol::Http11]);
    let entries = PAIR.replace(" }] }", " }], min_version: '1.3', client_ca: a.crt }, protocols: [http/1.1]");
    let config = pair(with(&entries, "", PLAIN), &["a.example"]).config();
    let listener = &config.listeners[0];
    let tls = listener.tls.as_ref().expect("given");
    assert_eq!((tls.min_version, tls.client_ca.is_some()), (TlsVersion::Tls13, true));
    assert_eq!(listener.protocols, [Protocol::Http11]);
}

/// A listener with everything that the format has for one.
#[test]
fn a_listener_with_every_bound_is_legal() {
    let text = "version: 1
listeners:
  websecure:
    address: :8443
    protocols: [h2, http/1.1]
    tls:
      certificates: [{ cert: tls/api.crt, key: tls/api.key }]   # several: chosen by SNI; files watched
      min_version: \"1.2\"
      client_ca: tls/clients-ca.crt   # optional: mutual TLS
    limits:
      header_bytes: 64KiB
      header_count: 128
      header_timeout: 10s
      idle_timeout: 75s
      body_min_rate: { rate: 1KiB, grace: 10s }
      connections: 50000
      connections_per_client: 1000
      h2_streams: 128
    trusted_proxies: [10.0.0.0/8]
    proxy_protocol: off               # off | optional | required
clusters: { app: { endpoints: [{ url: 'http://10.0.0.7:3000' }] } }
routes: [{ name: all, cluster: app }]
";
    let (cert, key) = self_signed(&["api.example.com"]);
    let memory = Memory::of(text).file("etc/tls/api.crt", cert.clone()).file("etc/tls/api.key", key);
    let config = memory.file("etc/tls/clients-ca.crt", cert).config();
    let listener = &config.listeners[0];
    assert!(listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()));
    let limits = &listener.limits;
    assert_eq!((limits.connections, limits.connections_per_client), (Some(50_000), Some(1_000)));
    assert_eq!((limits.h2_streams, limits.header_timeout), (128, Duration::from_secs(10)));
}

#[test]
fn certificates_keys_and_authorities_are_watched() {
    let cluster = ", tls: { ca: ca.crt, cert: a.crt, key: a.key }";
    let memory =
        pair(with(PAIR, cluster, "https://a.example"), &["a.example"]).file("etc/ca.crt", self_signed(&["ca"]).0);
    let files = memory.load().expect("legal").files;
    let expected = ["etc/a.crt", "etc/a.key", "etc/ca.crt", "etc/gateway.yaml"];
    assert_eq!(files, expected.map(PathBuf::from));
}

#[test]
fn a_renewed_pair_is_another_configuration_and_the_same_files_are_not() {
    let old = pair(with(PAIR, "", PLAIN), &["a.example"]);
    assert_eq!(old.config(), old.config());
    let new = pair(with(PAIR, "", PLAIN), &["a.example"]);
    assert!(old.config() != new.config(), "another certificate for the same name");
    let old = with("", ", tls: { ca: ca.crt }", "https://a.example").file("etc/ca.crt", self_signed(&["ca"]).0);
    assert_eq!(old.config(), old.config());
    let new = with("", ", tls: { ca: ca.crt }", "https://a.example").file("etc/ca.crt", self_signed(&["other"]).0);
    assert!(old.config() != new.config(), "another authority");
}

#[test]
fn nothing_of_a_key_is_shown() {
    let (cert, key) = self_signed(&["a.example"]);
    let memory = with(PAIR, "", PLAIN).file("etc/a.crt", cert).file("etc/a.key", &key);
    let shown = format!("{:?}", memory.load().expect("legal"));
    assert!(shown.contains("a.example") && !shown.contains("rivate"), "{shown}");
    let lines: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| !shown.contains(line)), "{shown}");
}

#[test]
fn an_endpoint_is_secure_by_its_scheme_and_named_by_its_host() {
    let config = with("", "", "https://Orders.internal").config();
    let endpoint = &config.clusters[0].endpoints[0];
    assert_eq!((endpoint.scheme, endpoint.host.as_str(), endpoint.port), (Scheme::Https, "orders.internal", 443));
    assert_eq!(endpoint.authority(), "orders.internal");
    assert_eq!(config.clusters[0].tls, ClusterTls::default());
    assert!(config.clusters[0].tls.trusts_system());
    let config =
        with("", ", tls: { server_name: B.example, insecure_skip_verify: on }", "https://10.0.0.7:80").config();
    let tls = &config.clusters[0].tls;
    assert_eq!((tls.server_name.as_deref(), tls.trusts_system()), (Some("b.example"), false));
    assert_eq!(config.clusters[0].endpoints[0].authority(), "10.0.0.7:80");
}

#[test]
fn probes_are_secured_as_requests_are_unless_they_say_otherwise() {
    let probed = |active: &str| {
        let cluster = format!(", tls: {{ server_name: b.example, ca: a.crt }}, health: {{ active: {{ {active} }} }}");
        pair(with("", &cluster, "https://10.0.0.7"), &["a.example"]).config().clusters.remove(0)
    };
    let cluster = probed("kind: https");
    assert_eq!(cluster.active.expect("given").tls, cluster.tls);
    let own = probed("kind: https, server_name: c.example").active.expect("given").tls;
    assert_eq!((own.server_name.as_deref(), own.ca), (Some("c.example"), None));
    assert_eq!(probed("kind: tcp").active.expect("given").tls, ClusterTls::default());
}
