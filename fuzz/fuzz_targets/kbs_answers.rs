//! Fuzzes the answers of a key broker, as a guest reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::kbs::answers(data));
