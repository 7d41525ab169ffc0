//! Fuzzes the plan of a key broker's keeper.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::keeper::plan(data));
