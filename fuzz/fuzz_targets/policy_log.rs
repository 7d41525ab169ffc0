//! Fuzzes decision logs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::policy::log(data));
