//! Fuzzes a genuine exchange of guest and key broker, changed in places.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::session(data));
