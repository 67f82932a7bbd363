//! What was verified is known while it holds, to the policy that verified it.

use std::rc::Rc;

use super::*;
use crate::limits;

fn someone(name: &str) -> Rc<Identity> {
    Rc::new(Identity::named(name, Vec::new()))
}

fn stamp(byte: u8) -> Stamp {
    Stamp::of(&[byte; 32])
}

#[test]
fn what_was_verified_is_known_until_it_ends() {
    let mut cache = Cache::default();
    assert!(cache.find(stamp(1), b"token", NOW).is_none());
    cache.on_verified(stamp(1), b"token", NOW + 10, someone("a"), NOW);
    assert_eq!(cache.find(stamp(1), b"token", NOW + 9).and_then(|found| found.name()), Some("a"));
    assert!(cache.find(stamp(1), b"token", NOW + 10).is_none(), "it has ended");
    assert!(cache.find(stamp(2), b"token", NOW).is_none(), "another policy, or other keys");
    assert!(cache.find(stamp(1), b"Token", NOW).is_none());
    assert!(cache.find(stamp(1), b"", NOW).is_none());
}

/// The place is told by the end alone; what stands before it counts all the same.
#[test]
fn two_with_the_same_end_are_two() {
    let mut cache = Cache::default();
    let end = "the-end-of-a-signature";
    cache.on_verified(stamp(1), format!("alice.{end}").as_bytes(), NOW + 10, someone("alice"), NOW);
    assert!(cache.find(stamp(1), format!("mallo.{end}").as_bytes(), NOW).is_none());
    assert!(cache.find(stamp(1), end.as_bytes(), NOW).is_none());
    cache.on_verified(stamp(1), format!("bob.{end}").as_bytes(), NOW + 10, someone("bob"), NOW);
    for name in ["alice", "bob"] {
        let found = cache.find(stamp(1), format!("{name}.{end}").as_bytes(), NOW);
        assert_eq!(found.and_then(|found| found.name()), Some(name));
    }
}

#[test]
fn the_same_one_again_takes_its_own_place() {
    let mut cache = Cache::default();
    cache.on_verified(stamp(1), b"token", NOW + 1, someone("a"), NOW);
    cache.on_verified(stamp(1), b"token", NOW + 10, someone("a"), NOW);
    assert_eq!(cache.len(), 1);
    assert!(cache.find(stamp(1), b"token", NOW + 5).is_some());
}

#[test]
fn what_is_too_long_or_has_ended_is_not_kept() {
    let mut cache = Cache::default();
    let long = vec![b'a'; limits::AUTH_CACHED_BYTES + 1];
    cache.on_verified(stamp(1), &long, NOW + 10, someone("a"), NOW);
    cache.on_verified(stamp(1), b"token", NOW, someone("a"), NOW);
    assert!(cache.is_empty());
    cache.on_verified(stamp(1), &long[1..], NOW + 10, someone("a"), NOW);
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_million_tokens_take_the_room_of_a_few() {
    let mut cache = Cache::default();
    for n in 0..1_000_000_u64 {
        let text = format!("{:032x}", u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        cache.on_verified(stamp(1), text.as_bytes(), NOW + 1 + n % 100, someone("a"), NOW);
    }
    assert!(cache.len() <= limits::AUTH_CACHE_ENTRIES);
    assert!(cache.len() > limits::AUTH_CACHE_ENTRIES * 9 / 10, "places are told apart: {}", cache.len());
}

#[test]
fn no_credential_shows_itself() {
    let mut cache = Cache::default();
    cache.on_verified(stamp(1), b"canary", NOW + 10, someone("a"), NOW);
    let shown = format!("{cache:?}");
    assert!(!shown.contains("canary") && !shown.contains("99, 97, 110"), "{shown}");
}

/// F42: what a token says of time is about the wall clock, also when that jumps, and what was found out under another time is
/// found out anew.
#[test]
fn a_clock_that_jumps_is_followed() {
    const HOUR: u64 = 3600;
    let rules = Rules { algorithms: vec![Algorithm::Hs256], ..Rules::default() };
    let verifier = Verifier::new(rules, KeySet::new(vec![Key::secret(&SECRET).unwrap()]));
    let claims = format!(r#"{{"nbf":{},"exp":{}}}"#, NOW - 60, NOW + 600);
    let message =
        format!("{}.{}", BASE64URL_NOPAD.encode(br#"{"alg":"HS256"}"#), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let token = format!("{message}.{}", BASE64URL_NOPAD.encode(&sign(Algorithm::Hs256, message.as_bytes())));
    let mut cache = Cache::default();
    // As a worker does: what is known is not verified again.
    let mut asks = |now_s: u64| {
        if cache.find(verifier.stamp(), token.as_bytes(), now_s).is_some() {
            return Ok(());
        }
        let passed = verifier.verify(token.as_bytes(), now_s)?;
        cache.on_verified(verifier.stamp(), token.as_bytes(), passed.until_s, Rc::new(passed.identity), now_s);
        Ok(())
    };
    for (now_s, told) in [
        (NOW, Ok(())),
        (NOW + HOUR, Err(Refusal::Expired)),
        (NOW, Ok(())),
        (NOW - HOUR, Err(Refusal::NotYet)),
        (NOW - 24 * HOUR, Err(Refusal::NotYet)),
        (NOW + 1, Ok(())),
        (NOW + 24 * HOUR, Err(Refusal::Expired)),
    ] {
        assert_eq!(asks(now_s), told, "at {now_s}");
    }
}
