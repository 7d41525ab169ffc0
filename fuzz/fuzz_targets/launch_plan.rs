//! Fuzzes launch plans as bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::launch::plan(data));
