//! Fuzzes paths of the key broker protocol, and names of its resources.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::path(data));
