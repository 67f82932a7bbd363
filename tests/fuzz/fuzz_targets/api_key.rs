//! Fuzzes the property `api_key`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ringgate_fuzz::api_key(input));
