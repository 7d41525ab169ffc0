//! Fuzzes page states that several vCPUs change at once.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::launch::page_states_at_once(data));
