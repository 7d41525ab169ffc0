//! Fuzzes the configuration of a key broker.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::keeper::config(data));
