//! Files of API keys.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use super::*;

fn hash(key: &str) -> String {
    HEXLOWER.encode(digest(&SHA256, key.as_bytes()).as_ref())
}

fn name<'a>(book: &'a KeyBook, key: &[u8]) -> Option<&'a str> {
    book.find(key).map(|number| &*book.names()[number])
}

/// FIPS 180-2 appendix B.1.
#[test]
fn a_key_is_found_by_its_hash() {
    let yaml = "abc: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let book = KeyBook::parse(yaml).unwrap();
    assert_eq!(name(&book, b"abc"), Some("abc"));
    for other in [&b"abd"[..], b"ab", b"abcd", b"", b"ABC", b"abc\0", b"\0", &[0xff; 32], &[b'a'; 2000]] {
        assert_eq!(name(&book, other), None, "{other:?}");
    }
    let hash = hex_bytes("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(name(&book, &hash), None, "the hash is not the key");
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

#[test]
fn every_key_of_many_is_found_and_nothing_else() {
    let lines: Vec<_> = (0..500)
        .map(|n| format!("client-{n}: [{}, {}]", hash(&format!("old-{n}")), hash(&format!("new-{n}")).to_uppercase()))
        .collect();
    let book = KeyBook::parse(&lines.join("\n")).unwrap();
    for n in 0..500 {
        let client = format!("client-{n}");
        for age in ["old", "new"] {
            assert_eq!(name(&book, format!("{age}-{n}").as_bytes()), Some(&*client));
        }
        assert_eq!(name(&book, format!("other-{n}").as_bytes()), None);
    }
}

#[test]
fn files_that_are_no_books_of_hashes_are_refused_without_showing_them() {
    let (a, canary) = (hash("a"), "canary-is-my-key");
    for (yaml, error) in [
        (String::new(), KeyBookError::Empty),
        ("{}".to_owned(), KeyBookError::Empty),
        ("a: []".to_owned(), KeyBookError::Empty),
        (format!("a: {canary}"), KeyBookError::Hash(1)),
        (format!("a: [{a}, {canary}]"), KeyBookError::Hash(1)),
        (format!("{canary}: partner"), KeyBookError::Hash(1)),
        (format!("b: {a}\na: {}", &a[1..]), KeyBookError::Hash(2)),
        (format!("a: {a}00"), KeyBookError::Hash(1)),
        (format!("a: {a}\nb: {a}"), KeyBookError::Twice(1, 2)),
        (format!("\"a\\r\\nx: y\": {a}"), KeyBookError::Name(1)),
        (format!("\"\": {a}"), KeyBookError::Name(1)),
    ] {
        let refused = KeyBook::parse(&yaml).unwrap_err();
        assert_eq!(refused, error, "{yaml}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
    for yaml in [
        canary.to_owned(),
        format!("- {canary}"),
        format!("a: {{ x: {canary} }}"),
        format!("a: {a}\na: {a}"),
        "a: [1".to_owned(),
    ] {
        let refused = KeyBook::parse(&yaml).unwrap_err();
        assert!(matches!(refused, KeyBookError::Shape(_)), "{yaml}: {refused:?}");
        assert!(!refused.to_string().contains("canary"), "{refused}");
    }
}
