//! J4: by which algorithms and keys a token lets in, and by which it does not (RFC 7518, RFC 8725).

use super::folder::Folder;
use super::gateway::Gateway;
use super::issuer::{in_seconds, signed, token_by_secret};
use super::origin::Origin;
use super::plan::{Io, Plan};
use super::signers::{ALGORITHMS, Signers};
use super::wait::until_true;

const KEYS: [&str; 5] = ["secret", "rsa", "p256", "p384", "ed25519"];

/// A route for each source of keys, by its name.
fn guarded(io: Io, folder: Folder, sources: &[(&str, &str)]) -> Gateway {
    let plan = sources.iter().fold(Plan::bare(io), |plan, (name, source)| {
        plan.policies(&format!("{name}: {{ jwt: {{ audience: api, {source} }} }}")).route(&format!(
            "name: {name}, match: {{ path: /{name}/* }}, respond: {{ status: 200, body: in }}, policies: [{name}]"
        ))
    });
    Gateway::start_in(folder, &plan.yaml())
}

/// The status that a token gets, and what the log says of it.
fn asks(gateway: &Gateway, path: &str, token: &str) -> (u16, String) {
    let mut client = gateway.client();
    client.sends(format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"));
    let status = client.expects_any().status();
    let line = gateway.log_of(path);
    let told = if status == 200 { &line["identity"] } else { &line["detail"] };
    (status, told.as_str().unwrap_or_default().to_owned())
}

fn passes(who: &str) -> (u16, String) {
    (200, who.to_owned())
}

fn refused(why: &str) -> (u16, String) {
    (401, why.to_owned())
}

/// Each algorithm passes by the key of its kind in a set, and its signature for no other algorithm.
fn every_algorithm_passes_by_its_key_and_no_other(io: Io) {
    let (signers, folder) = (Signers::new(), Folder::new());
    folder.write("keys.json", signers.key_set(&KEYS));
    let gateway = guarded(io, folder, &[("all", "keys_file: keys.json")]);
    for (algorithm, key) in ALGORITHMS {
        assert_eq!(asks(&gateway, &format!("/all/{algorithm}"), &signers.token(algorithm)), passes(algorithm));
        for (other, other_key) in ALGORITHMS.into_iter().filter(|(other, _)| *other != algorithm) {
            let token = signers.token_as(algorithm, other);
            let seen = asks(&gateway, &format!("/all/{algorithm}-as-{other}"), &token);
            assert_eq!(seen, refused("signature wrong"), "{algorithm} by {key} as {other} by {other_key}");
        }
    }
    gateway.stop();
}

/// A file of a public key is for the algorithms of its kind. Whoever signs by HMAC with that file, which everybody may read,
/// has signed with nothing (RFC 8725 section 2.1), and neither has who says that nothing was signed.
fn a_public_key_is_no_secret(io: Io) {
    let (signers, folder) = (Signers::new(), Folder::new());
    let sources = ["rsa", "p256", "p384", "ed25519"].map(|name| {
        folder.write(&format!("{name}.pem"), signers.pem(name));
        (name, format!("public_key_file: {name}.pem"))
    });
    let sources: Vec<_> = sources.iter().map(|(name, source)| (*name, source.as_str())).collect();
    let gateway = guarded(io, folder, &sources);
    for (name, _) in &sources {
        for (algorithm, key) in ALGORITHMS {
            let wanted = if key == *name { passes(algorithm) } else { refused("algorithm not accepted") };
            assert_eq!(asks(&gateway, &format!("/{name}/{algorithm}"), &signers.token(algorithm)), wanted, "{name}");
        }
        let payload = format!(r#"{{"aud":"api","exp":{}}}"#, in_seconds(300));
        let forged = token_by_secret(signers.pem(name).as_bytes(), &payload);
        assert_eq!(asks(&gateway, &format!("/{name}/forged"), &forged), refused("algorithm not accepted"));
        let trimmed = token_by_secret(signers.pem(name).trim_end().as_bytes(), &payload);
        assert_eq!(asks(&gateway, &format!("/{name}/trimmed"), &trimmed), refused("algorithm not accepted"));
        for none in ["none", "None", "NONE"] {
            let unsigned = signed(&format!(r#"{{"alg":"{none}"}}"#), &payload, |_| Vec::new());
            assert_eq!(asks(&gateway, &format!("/{name}/{none}"), &unsigned), refused("token not signed"), "{none}");
        }
    }
    gateway.stop();
}

/// A set that an issuer publishes has keys of several kinds; a secret in it is nobody's, because all can read it.
fn keys_of_each_kind_come_from_an_issuer(io: Io) {
    let signers = Signers::new();
    let set = signers.key_set(&KEYS);
    let issuer = Origin::answering(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{set}", set.len()).into_bytes()
    });
    let source = format!("jwks_url: 'http://{}/'", issuer.address());
    let gateway = guarded(io, Folder::new(), &[("all", &source)]);
    until_true("the keys", || gateway.status()["issuers"][0]["keys"] == 4);
    for (algorithm, key) in ALGORITHMS {
        let wanted = if key == "secret" { refused("algorithm not accepted") } else { passes(algorithm) };
        let seen = asks(&gateway, &format!("/all/{algorithm}"), &signers.token(algorithm));
        assert_eq!(seen, wanted, "{algorithm}");
    }
    gateway.stop();
}

on_both_drivers![
    every_algorithm_passes_by_its_key_and_no_other,
    a_public_key_is_no_secret,
    keys_of_each_kind_come_from_an_issuer,
];
