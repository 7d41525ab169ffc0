//! Fuzzes headers that carry sessions of the key broker protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::headers(data));
