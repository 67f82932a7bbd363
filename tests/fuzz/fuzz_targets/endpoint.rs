//! Fuzzes the property `endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringgate_fuzz::endpoint(input));
