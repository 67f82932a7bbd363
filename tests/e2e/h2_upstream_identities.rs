//! J4: what endpoints of HTTP/2 are told of who asks, and that no client can say it in the gateway's place.

use super::folder::Folder;
use super::gateway::Gateway;
use super::h2_client::H2Client;
use super::h2_endpoint::{H2Asked, H2Endpoint};
use super::issuer::{Issuer, hash, key_set};
use super::origin::Origin;
use super::plan::{Io, Plan};

/// What a client sends in place of the gateway, in every spelling.
const FORGED: [(&str, &str); 8] = [
    ("x-user", "root"),
    ("x_user", "root"),
    ("x-role", "admin"),
    ("x_role", "admin"),
    ("x-partner", "other"),
    ("x_partner", "other"),
    ("x-account", "1"),
    ("x_account", "1"),
];

/// The fields of identities that the endpoint has, in order of their names, and credentials.
fn identities(asked: &H2Asked) -> Vec<(String, String)> {
    let words = ["user", "role", "partner", "account", "authorization", "api-key"];
    let mut seen: Vec<_> = asked
        .request()
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap_or_default().to_owned()))
        .filter(|(name, _)| words.iter().any(|word| name.replace('_', "-").contains(word)))
        .collect();
    seen.sort();
    seen
}

fn pairs(told: &[(&str, &str)]) -> Vec<(String, String)> {
    told.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Claims, the name of a key's holder and what another service says reach the endpoint; what clients send under these names
/// does not, from HTTP/1 and HTTP/2, in no spelling, named by `Connection`, or behind a body. Nor do the credentials.
fn identities_are_told_to_endpoints_of_http2_and_never_by_the_client(io: Io) {
    let (issuer, folder, endpoint) = (Issuer::new("k1"), Folder::new(), H2Endpoint::listens());
    folder.write("jwks.json", key_set(&[&issuer]));
    folder.write("keys.yaml", format!("acme: {}\n", hash("key-a")));
    let service = Origin::answering(|_| b"HTTP/1.1 200 OK\r\nX-Account: 7\r\nContent-Length: 0\r\n\r\n".to_vec());
    let plan = Plan::bare(io)
        .speaks_h2()
        .cluster_of("app", &endpoint.entry())
        .cluster("svc", &[service.address()])
        .policies("staff: { jwt: { keys_file: jwks.json, audience: api, forward_claims: { sub: x-user, role: x-role }, forward_credentials: false } }")
        .policies("partner: { api_key: { keys_file: keys.yaml, forward_identity: x-partner } }")
        .policies("asked: { external_auth: { cluster: svc, response_headers: [x-account] } }")
        .route("name: all, match: { path: /* }, cluster: app, policies: [staff, partner, asked]");
    let gateway = Gateway::start_in(folder, &plan.yaml());
    let told = pairs(&[("x-account", "7"), ("x-partner", "acme"), ("x-user", "alice")]);
    let token = issuer.token(r#""aud":"api","sub":"alice""#);
    let forged: String = FORGED.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut client = gateway.client();
    let good = format!("Host: a\r\nAuthorization: Bearer {token}\r\nX-Api-Key: key-a\r\n");
    client.sends(format!("GET /one HTTP/1.1\r\nConnection: x-user, x-account\r\n{forged}{good}\r\n"));
    let accepted = endpoint.accepts();
    let asked = accepted.expects("GET /one");
    assert_eq!(identities(&asked), told);
    asked.replies_with("");
    client.expects(200);

    client.sends(format!(
        "POST /two HTTP/1.1\r\n{good}Transfer-Encoding: chunked\r\nTrailer: x-user\r\n\r\n1\r\na\r\n0\r\n{forged}\r\n"
    ));
    let mut asked = accepted.expects("POST /two");
    assert_eq!((identities(&asked), asked.reads_all()), (told.clone(), b"a".to_vec()));
    let behind = asked.reads_trailers();
    assert!(FORGED.iter().all(|(name, _)| !behind.contains_key(*name)), "{behind:?}");
    asked.replies_with("");
    client.expects(200);

    let mut h2 = H2Client::to(gateway.address());
    let bearer = format!("Bearer {token}");
    let fields: Vec<_> = FORGED.into_iter().chain([("authorization", &*bearer), ("x-api-key", "key-a")]).collect();
    let stream = h2.asks("GET", "/three", &fields);
    let asked = accepted.expects("GET /three");
    assert_eq!(identities(&asked), told);
    asked.replies_with("");
    stream.expects(200);
    gateway.stop();
}

on_both_drivers![identities_are_told_to_endpoints_of_http2_and_never_by_the_client];
