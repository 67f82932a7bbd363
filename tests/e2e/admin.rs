//! H4: who may ask the admin server, and over what.

use std::process::Stdio;

use super::balance::{balanced, named};
use super::endpoint::Endpoint;
use super::folder::Folder;
use super::gateway::{Gateway, json};
use super::origin::Origin;
use super::pki::Authority;
use super::plan::{Io, Plan};
use super::process::{Process, binary};
use super::site::write_pair;
use super::tool::run;
use super::wire::Wire;

pub(crate) const TOKEN: &str = "a-token-that-may-do-everything";
pub(crate) const READ_TOKEN: &str = "a-token-that-may-only-look";

pub(crate) fn guarded(io: Io, folder: Folder, admin: &str) -> Gateway {
    let plan = Plan::bare(io).route("name: all, match: { path: /* }, respond: { status: 200, body: in }");
    let yaml = plan.yaml().replace("admin: { listen: '127.0.0.1:0' }", &format!("admin: {{ {admin} }}"));
    assert!(yaml.contains(admin), "{yaml}");
    Gateway::start_in(folder, &yaml)
}

/// The status of the answer to a request that shows a token, and the whole answer.
pub(crate) fn asks(gateway: &Gateway, method: &str, path: &str, token: Option<&str>) -> (u16, String) {
    let mut wire = Wire::to(([127, 0, 0, 1], gateway.admin().port()).into());
    let shown = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    wire.sends(format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway.example\r\n{shown}Connection: close\r\nContent-Length: 0\r\n\r\n"
    ));
    let mut message = wire.reads_head();
    wire.reads_body(&mut message);
    (message.status(), message.to_string())
}

/// Beyond loopback every page but those for load balancers needs a token, and one for looking changes nothing. No page, log
/// line or error shows either of them.
fn tokens_are_for_looking_or_for_everything(io: Io) {
    let folder = Folder::new();
    folder.write("all", format!("{TOKEN}\n"));
    folder.write("look", format!("{READ_TOKEN}\n"));
    let gateway = guarded(io, folder, "listen: '0.0.0.0:0', token: '${file:all}', read_token: '${file:look}'");
    for page in ["/metrics", "/status", "/clusters", "/policy"] {
        for (token, status) in [(None, 401), (Some("wrong"), 401), (Some(READ_TOKEN), 200), (Some(TOKEN), 200)] {
            let (told, answer) = asks(&gateway, "GET", page, token);
            assert_eq!(told, status, "{page} {token:?}: {answer}");
            assert!(!answer.contains(TOKEN) && !answer.contains(READ_TOKEN), "{answer}");
        }
    }
    for (token, status) in [(None, 401), (Some(READ_TOKEN), 403), (Some(TOKEN), 200)] {
        assert_eq!(asks(&gateway, "POST", "/reload", token).0, status, "{token:?}");
    }
    for page in ["/health", "/healthz", "/ready"] {
        assert_eq!(asks(&gateway, "GET", page, None).0, 200, "{page}");
    }
    let (_, answer) = asks(&gateway, "GET", "/status", None);
    assert!(answer.to_lowercase().contains("www-authenticate: bearer realm="), "{answer}");
    let said = gateway.notices.all().join("\n");
    assert!(said.contains("without TLS") && !said.contains(TOKEN) && !said.contains(READ_TOKEN), "{said}");
    let file = gateway.folder.path("look");
    let admin = format!("http://127.0.0.1:{}", gateway.admin().port());
    let policy = |arguments: &[&str]| {
        let output = binary().arg("policy").args(arguments).args(["--admin", &admin]).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let file = file.to_str().expect("a path of text");
    assert_eq!(policy(&["get", "--token-file", file]), (Some(0), String::new()));
    let (code, said) = policy(&["set", "--enabled", "false", "--token-file", file]);
    assert!(code == Some(1) && said.contains("for looking only"), "{said}");
    assert_eq!(policy(&["get"]).0, Some(1));
    drop(gateway.killed());
}

/// With TLS and authorities nobody without a certificate of theirs is answered at all.
fn a_certificate_opens_it_as_well(io: Io) {
    let (folder, us, ops) = (Folder::new(), Authority::new("us"), Authority::new("ops"));
    write_pair(&folder, "admin", &us.certifies(&["localhost"]));
    write_pair(&folder, "op", &ops.certifies(&["op"]));
    write_pair(&folder, "other", &us.certifies(&["op"]));
    folder.write("us.pem", us.pem());
    folder.write("ops.pem", ops.pem());
    let gateway =
        guarded(io, folder, "listen: '0.0.0.0:0', tls: { cert: admin.crt, key: admin.key, client_ca: ops.pem }");
    let url = format!("https://localhost:{}/status", gateway.admin().port());
    let file = |name: &str| gateway.folder.path(name).display().to_string();
    let curl = |own: Option<&str>| {
        let mut arguments = vec!["-sS".to_owned(), "--cacert".to_owned(), file("us.pem"), url.clone()];
        if let Some(own) = own {
            let pair =
                ["--cert".to_owned(), file(&format!("{own}.crt")), "--key".to_owned(), file(&format!("{own}.key"))];
            arguments.extend(pair);
        }
        run("curl", &arguments, "")
    };
    let answer = curl(Some("op"));
    assert_eq!(json(&answer.text)["ready"], true, "{answer:?}");
    for stranger in [None, Some("other")] {
        let answer = curl(stranger);
        assert!(!answer.is_content && !answer.text.contains('{'), "{stranger:?}: {answer:?}");
    }
    // Whoever only begins a handshake keeps nobody out.
    let begun: Vec<Wire> = (0..32).map(|_| Wire::to(([127, 0, 0, 1], gateway.admin().port()).into())).collect();
    assert_eq!(json(&curl(Some("op")).text)["ready"], true);
    drop(begun);
    drop(gateway.killed());
}

/// A copy of a gateway's file that says where the admin server listens, with another change.
fn told_to(gateway: &Gateway, name: &str, change: (&str, &str)) -> String {
    let yaml = std::fs::read_to_string(gateway.folder.path("gateway.yaml")).expect("a file");
    let yaml = yaml.replace("0.0.0.0:0", &format!("0.0.0.0:{}", gateway.admin().port()));
    let path = gateway.folder.write(name, yaml.replace(change.0, change.1));
    path.to_str().expect("text").to_owned()
}

/// The exit code of a command, and what it said.
fn told(arguments: &[&str]) -> (Option<i32>, String) {
    let output = binary().args(arguments).output().expect("a child");
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).expect("text"))
}

const COMMANDS: [&[&str]; 5] = [&["status"], &["top", "--once"], &["reload"], &["policy", "get"], &["health"]];

/// L1: commands speak TLS. With a configuration file they believe the certificate that it names and no other, without one
/// what their authority has signed.
fn commands_ask_over_tls(io: Io) {
    let (folder, us, other) = (Folder::new(), Authority::new("us"), Authority::new("other"));
    write_pair(&folder, "admin", &us.certifies(&["localhost"]));
    write_pair(&folder, "imposter", &us.certifies(&["localhost"]));
    folder.write("us.pem", us.pem());
    folder.write("other.pem", other.pem());
    folder.write("all", TOKEN);
    let gateway =
        guarded(io, folder, "listen: '0.0.0.0:0', token: '${file:all}', tls: { cert: admin.crt, key: admin.key }");
    let file = told_to(&gateway, "known.yaml", ("", ""));
    for command in COMMANDS {
        let (code, said) = told(&[command, &["-c", &file]].concat());
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    // At night the file is the one that was refused.
    let broken = told_to(&gateway, "broken.yaml", ("routes:", "rotues:"));
    for command in [&["status"][..], &["top", "--once"], &["policy", "get"], &["health"]] {
        let (code, said) = told(&[command, &["-c", &broken]].concat());
        assert_eq!(code, Some(0), "{command:?}: {said}");
    }
    let no_yaml = told_to(&gateway, "no.yaml", ("routes:", "routes: ]"));
    let (code, said) = told(&["status", "-c", &no_yaml]);
    assert!(code == Some(3) && said.contains("no.yaml:"), "{said}");
    let at = |name: &str| gateway.folder.path(name).display().to_string();
    let imposter = told_to(
        &gateway,
        "other.yaml",
        ("tls: { cert: admin.crt, key: admin.key", "tls: { cert: imposter.crt, key: imposter.key"),
    );
    let (code, said) = told(&["status", "-c", &imposter]);
    assert!(code == Some(1) && said.contains("certificate"), "another certificate of the same name: {said}");
    let (us, other, token) = (at("us.pem"), at("other.pem"), at("all"));
    assert_eq!(told(&["status", "-c", &imposter, "--cacert", &us]).0, Some(0), "whoever signed it is believed");
    let bare = format!("localhost:{}", gateway.admin().port());
    let (by_name, by_address) = (
        format!("https://localhost:{}", gateway.admin().port()),
        format!("https://127.0.0.1:{}", gateway.admin().port()),
    );
    for (arguments, code, part) in [
        (&["--admin", &*by_name, "--cacert", &*us, "--token-file", &*token][..], 0, "epoch"),
        (&["--admin", &*bare, "--cacert", &*us, "--token-file", &*token], 0, "epoch"),
        (&["--admin", &*by_name, "--cacert", &*us], 1, "401"),
        (&["--admin", &*by_name, "--cacert", &*other, "--token-file", &*token], 1, "UnknownIssuer"),
        (&["--admin", &*by_address, "--cacert", &*us, "--token-file", &*token], 1, "not valid for name"),
        (&["--admin", &*by_name, "--token-file", &*token], 2, "--cacert"),
    ] {
        let (found, said) = told(&[&["status"][..], arguments].concat());
        assert!(found == Some(code) && said.contains(part), "{arguments:?}: {found:?} {said}");
    }
    drop(gateway.killed());
}

/// Whoever gives files for TLS wants that, and no token of theirs goes out without it.
#[test]
fn files_for_tls_are_never_left_unused() {
    let (folder, endpoint) = (Folder::new(), Endpoint::listens());
    folder.write("us.pem", Authority::new("us").pem());
    folder.write("all", TOKEN);
    let at = |name: &str| folder.path(name).display().to_string();
    let (address, us, token) = (endpoint.address().to_string(), at("us.pem"), at("all"));
    let mut command = binary();
    command.args(["status", "--admin", &address, "--cacert", &us, "--token-file", &token]);
    let mut child = Process::start(command.stderr(Stdio::null()));
    let mut accepted = endpoint.accepts();
    assert_eq!(accepted.reads(1), [22], "a handshake (RFC 8446 section 5.1), and no request");
    drop(accepted);
    assert_eq!(child.exit_code(), Some(1));
    let plain = format!("http://{address}");
    let (code, said) = told(&["status", "--admin", &plain, "--cacert", &us, "--token-file", &token]);
    assert!(code == Some(2) && said.contains("--cacert"), "{said}");
    assert!(endpoint.is_alone());
}

/// The same where it asks for a certificate: they say so, and show the one that they are given.
fn commands_show_a_certificate(io: Io) {
    let (folder, ops) = (Folder::new(), Authority::new("ops"));
    write_pair(&folder, "admin", &Authority::new("us").certifies(&["localhost"]));
    write_pair(&folder, "op", &ops.certifies(&["op"]));
    write_pair(&folder, "stranger", &Authority::new("ops").certifies(&["op"]));
    folder.write("ops.pem", ops.pem());
    let gateway =
        guarded(io, folder, "listen: '0.0.0.0:0', tls: { cert: admin.crt, key: admin.key, client_ca: ops.pem }");
    let file = told_to(&gateway, "known.yaml", ("", ""));
    let at = |name: &str| gateway.folder.path(name).display().to_string();
    for command in COMMANDS {
        let (code, said) = told(&[command, &["-c", &file]].concat());
        assert!(code == Some(1) && said.contains("`--cert` and `--key`"), "{command:?}: {said}");
        for (name, code) in [("op", 0), ("stranger", 1)] {
            let (cert, key) = (at(&format!("{name}.crt")), at(&format!("{name}.key")));
            let (found, said) = told(&[command, &["-c", &file, "--cert", &cert, "--key", &key]].concat());
            assert_eq!(found, Some(code), "{command:?} {name}: {said}");
        }
    }
    assert_eq!(told(&["status", "-c", &file, "--cert", &at("op.crt")]).0, Some(2), "a certificate without its key");
    drop(gateway.killed());
}

/// An endpoint is drained, brought back and weighed while the gateway runs; what was given stays over a reload, and rubbish
/// changes nothing.
fn an_endpoint_is_drained_brought_back_and_weighed(io: Io) {
    let origins = named(2);
    let gateway = balanced(io, &origins, "balance: weighted_round_robin").workers("2").start();
    let [a, b] = [&origins[0], &origins[1]].map(Origin::address);
    // Two workers take turns each for itself.
    let turns = || {
        let before = [origins[0].requests(), origins[1].requests()];
        let mut client = gateway.client();
        for _ in 0..24 {
            client.asks("/").expects(200);
        }
        [origins[0].requests() - before[0], origins[1].requests() - before[1]]
    };
    let order = |method: &str, what: &str, body: &str| {
        let answer = gateway.sends_admin(method, &format!("/clusters/app/{what}"), body);
        // It is published by now, and workers have it a moment later.
        gateway.waits_for_workers(0);
        (answer.status(), answer.text().to_owned())
    };
    assert_eq!(turns(), [12, 12]);
    let (status, text) = order("POST", &format!("{a}/drain"), "");
    assert_eq!((status, json(&text)["epoch"].as_u64()), (200, Some(2)), "{text}");
    assert_eq!(turns(), [0, 24]);
    assert_eq!((gateway.shows("app", a)["weight"].as_u64(), gateway.epoch()), (Some(0), 2));
    assert_eq!(order("POST", &format!("{a}/drain"), "").0, 200);
    assert_eq!(gateway.epoch(), 2, "nothing new");
    gateway.adopts(
        &balanced(io, &origins, "balance: weighted_round_robin").workers("2").runtime("max_connections: 99").yaml(),
    );
    assert_eq!(turns(), [0, 24], "a reload is about something else");
    assert_eq!(order("PUT", &format!("{a}/weight"), r#"{"weight": 3}"#).0, 200);
    assert_eq!(turns(), [18, 6]);
    assert_eq!(order("POST", &format!("{a}/undrain"), "").0, 200);
    assert_eq!(turns(), [12, 12]);
    for (method, what, body, status) in [
        ("POST", "127.0.0.1:1/drain".to_owned(), "", 404),
        ("POST", "nonsense/drain".to_owned(), "", 404),
        ("GET", format!("{b}/drain"), "", 405),
        ("PUT", format!("{b}/weight"), "", 400),
        ("PUT", format!("{b}/weight"), r#"{"weight": -1}"#, 400),
        ("PUT", format!("{b}/weight"), r#"{"weight": 1001}"#, 400),
        ("PUT", format!("{b}/weight"), r#"{"weight": 1, "more": 2}"#, 400),
        ("POST", format!("{b}/explode"), "", 404),
    ] {
        assert_eq!(order(method, &what, body).0, status, "{method} {what} {body}");
    }
    assert_eq!(gateway.sends_admin("POST", &format!("/clusters/other/{b}/drain"), "").status(), 404);
    assert_eq!(turns(), [12, 12]);
    gateway.stop();
}

/// Routes are shown as they are in force.
fn routes_are_shown(io: Io) {
    let gateway = Plan::bare(io)
        .policies("office: { access: { deny: [192.0.2.0/24] } }")
        .route("name: one, match: { host: '*.a.example', path: /x/*, methods: [GET] }, respond: { status: 200, body: in }, policies: [office]")
        .route("name: two, match: { path: /y }, redirect: { to: 'https://b.example{path}', status: 308 }")
        .start();
    let shown = json(gateway.asks_admin("GET", "/routes").text());
    let expected = serde_json::json!({"routes": [
        {"name": "one", "host": "*.a.example", "path": "/x/*", "methods": ["GET"], "action": "respond 200", "policies": ["office"]},
        {"name": "two", "host": "*", "path": "/y", "action": "redirect 308 to https://b.example{path}"},
    ]});
    assert_eq!(shown, expected);
    gateway.stop();
}

on_both_drivers![
    tokens_are_for_looking_or_for_everything,
    a_certificate_opens_it_as_well,
    commands_ask_over_tls,
    commands_show_a_certificate,
    an_endpoint_is_drained_brought_back_and_weighed,
    routes_are_shown
];
