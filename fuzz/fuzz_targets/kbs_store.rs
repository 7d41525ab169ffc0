//! Fuzzes the file of a key broker's store.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::store::file(data));
