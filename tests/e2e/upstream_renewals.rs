//! Files of TLS towards endpoints that are renewed while requests are served: certificate, key and authorities.

use super::folder::Folder;
use super::gateway::Gateway;
use super::origin::Origin;
use super::pki::{Authority, Pair};
use super::plan::{Io, Plan};
use super::site::{VERSIONS, server_of, write_pair};
use super::wait::until_true;

/// An origin that demands certificates of `clients`, and tells whether it was shown the one of `renewed`.
fn demanding(pair: &Pair, clients: &Authority, renewed: &Pair) -> Origin {
    let expected = renewed.chain().remove(0);
    Origin::secured(server_of(pair, &VERSIONS, Some(clients)), move |wire, _| {
        let shown = wire.layer().agreed().peer_certificates().and_then(<[_]>::first);
        let text = if shown == Some(&expected) { "new" } else { "old" };
        format!("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{text}").into_bytes()
    })
}

/// All requests to `origin`, each over a connection of its own unless `keeps` connections.
fn start(io: Io, origin: &Origin, tls: &str, keeps: bool, folder: Folder) -> Gateway {
    let tls = format!("ca: ca.crt, server_name: a.example{tls}");
    let cluster = format!("endpoints: [{{ url: 'https://{}' }}], tls: {{ {tls} }}", origin.address());
    let plan = Plan::bare(io).cluster_as("app", &cluster).route("name: all, cluster: app, retry: { attempts: 1 }");
    let plan = if keeps { plan } else { plan.keepalive("idle_per_endpoint: 0") };
    Gateway::start_in(folder, &plan.yaml())
}

fn asks(gateway: &Gateway) -> String {
    let mut client = gateway.client();
    client.asks("/x");
    client.expects(200).text().to_owned()
}

/// The report of the last refused configuration.
fn refusal(gateway: &Gateway, count: usize) -> String {
    let refused = || gateway.notices_of("configuration refused, the last one stays");
    until_true("a report", || refused().len() >= count);
    refused().pop().and_then(|line| line["report"].as_str().map(str::to_owned)).expect("a report")
}

/// A certificate whose key is not there yet, or whose files are cut, changes nothing; with its key it is shown from then on.
fn our_own_certificate_is_renewed_live_and_only_whole(io: Io) {
    let (authority, clients) = (Authority::new("inside"), Authority::new("clients"));
    let [own, renewed] = [0, 1].map(|_| clients.certifies(&["gateway"]));
    for keeps in [false, true] {
        let origin = demanding(&authority.certifies(&["a.example"]), &clients, &renewed);
        let folder = Folder::new();
        folder.write("ca.crt", authority.pem());
        write_pair(&folder, "own", &own);
        let gateway = start(io, &origin, ", cert: own.crt, key: own.key", keeps, folder);
        assert_eq!(asks(&gateway), "old");
        gateway.folder.write("own.crt", &renewed.cert);
        let report = refusal(&gateway, 1);
        assert!(report.contains("the private key does not belong to the certificate"), "{report}");
        gateway.folder.write("own.crt", &renewed.cert[..renewed.cert.len() / 2]);
        let report = refusal(&gateway, 2);
        assert!(report.contains("the file is damaged"), "{report}");
        assert_eq!((asks(&gateway), gateway.epoch()), ("old".to_owned(), 1), "nothing of it is in force");
        write_pair(&gateway.folder, "own", &renewed);
        until_true("the new one is shown", || asks(&gateway) == "new");
        assert_eq!(asks(&gateway), "new");
        gateway.waits_for("config_last_reload_success", 1.0);
        gateway.stop();
    }
}

/// A file of authorities that cannot be read changes nothing; one with others is believed from then on, and the last no more.
fn the_authorities_are_renewed_live(io: Io) {
    let [old, new] = ["old", "new"].map(Authority::new);
    let folder = Folder::new();
    folder.write("ca.crt", old.pem());
    let origins = [&old, &new].map(|authority| {
        let config = server_of(&authority.certifies(&["a.example"]), &VERSIONS, None);
        Origin::secured(config, |_, _| b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
    });
    let cluster = |origin: &Origin| {
        let tls = "tls: { ca: ca.crt, server_name: a.example }";
        format!("endpoints: [{{ url: 'https://{}' }}], {tls}", origin.address())
    };
    let plan = Plan::bare(io)
        .cluster_as("old", &cluster(&origins[0]))
        .cluster_as("new", &cluster(&origins[1]))
        .route("name: old, match: { path: /old }, cluster: old, retry: { attempts: 1 }")
        .route("name: new, match: { path: /new }, cluster: new, retry: { attempts: 1 }")
        .keepalive("idle_per_endpoint: 0");
    let gateway = Gateway::start_in(folder, &plan.yaml());
    let asks = |path: &str| {
        let mut client = gateway.client();
        client.asks(path);
        let answer = client.expects_any();
        (answer.status(), answer.reason().to_owned())
    };
    let (good, bad) = ((200, String::new()), (502, "tls_unknown_issuer".to_owned()));
    assert_eq!([asks("/old"), asks("/new")], [good.clone(), bad.clone()]);
    gateway.folder.write("ca.crt", "nothing of the kind");
    let report = refusal(&gateway, 1);
    assert!(report.contains("the file holds no certificate"), "{report}");
    assert_eq!([asks("/old"), asks("/new")], [good.clone(), bad.clone()]);
    gateway.folder.write("ca.crt", new.pem());
    until_true("the new one is believed", || asks("/new") == good);
    assert_eq!(asks("/old"), bad, "a session of before opens no door");
    gateway.stop();
}

on_both_drivers![our_own_certificate_is_renewed_live_and_only_whole, the_authorities_are_renewed_live];
