//! Fuzzes requests for a challenge of the key broker protocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::request(data));
