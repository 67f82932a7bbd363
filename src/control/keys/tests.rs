//! Sources of configurations that follow one another; no task has its turn, so that nothing is ever asked.

use super::*;
use crate::config::tests::of_text;
use crate::policy::auth::{Jwks, Origin};

/// RFC 8037 appendix A.2.
const SET: &[u8] = br#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// A policy `staff` whose issuer is asked this often.
fn asking_each(refresh: &str) -> Config {
    let jwt = format!("{{ audience: api, jwks_url: 'http://issuer.invalid/jwks', refresh: {refresh} }}");
    of_text(&format!(
        "version: 1\nlisteners: {{ web: {{ address: ':8080' }} }}\npolicies: {{ staff: {{ jwt: {jwt} }} }}\n\
         routes: [{{ name: all, respond: {{ status: 200 }}, policies: [staff] }}]\n"
    ))
}

/// The source of `config` is asked, and has answered.
fn answers(keys: &mut Keys, config: &Config) {
    let source = sources(config).next().unwrap();
    let term = keys.sources.iter().find(|running| running.source == *source).unwrap().term;
    let found = Jwks::parse(SET, Origin::Issuer).map_err(|error| error.to_string());
    assert!(found.is_ok());
    keys.on_report(Report { term, found });
}

fn issued(keys: &mut Keys, config: &Config) -> usize {
    keys.issued(config)["staff"].0.keys().len()
}

#[tokio::test]
async fn what_is_on_trial_begins_with_the_keys_of_what_is_in_force_and_keeps_them() {
    let (mut keys, in_force, candidate) = (Keys::default(), asking_each("10m"), asking_each("1h"));
    keys.follow([&in_force].into_iter());
    answers(&mut keys, &in_force);
    keys.follow([&in_force, &candidate].into_iter());
    assert_eq!((issued(&mut keys, &in_force), issued(&mut keys, &candidate)), (1, 1));
    keys.follow([&candidate].into_iter());
    assert_eq!(issued(&mut keys, &candidate), 1);
}

#[tokio::test]
async fn keys_are_taken_from_whoever_has_some_at_the_url() {
    let [first, second, third] = ["10m", "1h", "2h"].map(asking_each);
    for answering in [&first, &second] {
        let mut keys = Keys::default();
        keys.follow([&first, &second].into_iter());
        answers(&mut keys, answering);
        assert_eq!(issued(&mut keys, &third), 1, "before it is asked");
        keys.follow([&first, &second, &third].into_iter());
        assert_eq!(issued(&mut keys, &third), 1);
    }
}

#[tokio::test]
async fn what_a_policy_wants_is_told_to_its_own_source_and_to_no_other() {
    let [first, second, third] = ["10m", "1h", "2h"].map(asking_each);
    let mut keys = Keys::default();
    keys.follow([&first].into_iter());
    answers(&mut keys, &first);
    // As they are compiled, before anybody asks for two of them.
    let told = [&first, &second, &third].map(|config| Arc::clone(&keys.issued(config)["staff"].1));
    keys.follow([&first, &second, &third].into_iter());
    for (config, wanted) in [&first, &second, &third].into_iter().zip(&told) {
        let source = sources(config).next().unwrap();
        wanted.on_unknown();
        let heard = keys.sources.iter().filter(|running| running.wanted.take()).map(|running| &running.source);
        assert_eq!(heard.collect::<Vec<_>>(), [source]);
        assert!(Arc::ptr_eq(wanted, &keys.issued(config)["staff"].1), "in the snapshots that follow");
    }
}
