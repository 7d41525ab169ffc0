//! Fuzzes the shim's parameter page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::shim::params(data));
