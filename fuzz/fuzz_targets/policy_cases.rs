//! Fuzzes documents of test cases.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::policy::cases(data));
