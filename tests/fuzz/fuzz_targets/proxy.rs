//! Fuzzes the property `proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringgate_fuzz::proxy(input));
