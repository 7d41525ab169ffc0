//! Fuzzes what a key broker's owner asks and is answered.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::keeper::owner(data));
