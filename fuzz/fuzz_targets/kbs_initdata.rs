//! Fuzzes initdata.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::initdata(data));
