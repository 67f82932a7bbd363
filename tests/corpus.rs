//! Replays the corpora of the fuzz targets, each file as it is and damaged in ways that its name seeds.

#[allow(unreachable_pub, clippy::panic, reason = "the same file is a library to the fuzz targets")]
#[path = "fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

/// Damaged copies of each file.
const DAMAGED: usize = 100;

/// Bytes that matter to the grammar.
const MARKS: &[u8] = b"\r\n \t:;,/%.0?#\\*\0\x7f\xff";

/// Replays the corpus of one target.
fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    assert!(files.len() >= 15, "the corpus of {target} has only {} files", files.len());
    for file in files {
        let bytes = fs::read(&file).expect("a readable file");
        show(&file);
        property(&bytes);
        let mut seed = bytes
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |seed, &byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
            | 1;
        for _ in 0..DAMAGED {
            property(&damage(bytes.clone(), &mut seed));
        }
    }
}

/// Names the file at hand, which is shown with a failure.
#[expect(clippy::print_stderr, reason = "the test harness keeps it for a failure")]
fn show(file: &Path) {
    eprintln!("{}", file.display());
}

/// Removes, replaces or inserts up to three bytes.
fn damage(mut bytes: Vec<u8>, seed: &mut u64) -> Vec<u8> {
    let mut below = |bound: usize| {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        usize::try_from(*seed % bound as u64).expect("below a usize")
    };
    for _ in 0..=below(3) {
        let at = below(bytes.len() + 1);
        let mark = MARKS[below(MARKS.len())];
        match below(3) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 if at < bytes.len() => bytes[at] = mark,
            _ => bytes.insert(at, mark),
        }
    }
    bytes
}

#[test]
fn the_corpus_of_head_holds() {
    replay("head", properties::head);
}

#[test]
fn the_corpus_of_framing_holds() {
    replay("framing", properties::framing);
}

#[test]
fn the_corpus_of_chunked_holds() {
    replay("chunked", properties::chunked);
}

#[test]
fn the_corpus_of_fields_holds() {
    replay("fields", properties::fields);
}

#[test]
fn the_corpus_of_path_holds() {
    replay("path", properties::path);
}

#[test]
fn the_corpus_of_translation_holds() {
    replay("translation", properties::translation);
}

#[test]
fn the_corpus_of_connection_holds() {
    replay("connection", properties::connection);
}

#[test]
fn the_corpus_of_endpoint_holds() {
    replay("endpoint", properties::endpoint);
}

#[test]
fn the_corpus_of_answer_holds() {
    replay("answer", properties::answer);
}

#[test]
fn the_corpus_of_proxy_holds() {
    replay("proxy", properties::proxy);
}

#[test]
fn the_corpus_of_login_holds() {
    replay("login", properties::login);
}

#[test]
fn the_corpus_of_token_holds() {
    replay("token", properties::token);
}

#[test]
fn the_corpus_of_key_set_holds() {
    replay("key_set", properties::key_set);
}

#[test]
fn the_corpus_of_access_holds() {
    replay("access", properties::access);
}

#[test]
fn the_corpus_of_api_key_holds() {
    replay("api_key", properties::api_key);
}
