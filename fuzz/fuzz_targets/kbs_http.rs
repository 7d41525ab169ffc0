//! Fuzzes HTTP as the network side of a key broker reads it, in any pieces.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::front::http(data));
