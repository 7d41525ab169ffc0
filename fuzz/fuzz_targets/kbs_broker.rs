//! Fuzzes whole requests to a key broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::broker(data));
