//! Fuzzes certificates of a key broker in PEM.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::keeper::identity(data));
