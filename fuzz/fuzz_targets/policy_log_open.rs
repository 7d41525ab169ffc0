//! Fuzzes what a writer finds where its log should be.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::policy_log::open(data));
