//! Fuzzes page-state requests of a running confidential VM.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::launch::page_states(data));
