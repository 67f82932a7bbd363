//! Fuzzes the property `key_set`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringgate_fuzz::key_set(input));
