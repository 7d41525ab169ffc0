//! Fuzzes comparing and merging two policies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::policy::compare(data));
