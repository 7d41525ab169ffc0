//! Fuzzes what the network side of a key broker is told at its start.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::front::plan(data));
