//! Fuzzes a guest's side of the key broker protocol: `broker_client::session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::broker_client::session(data));
