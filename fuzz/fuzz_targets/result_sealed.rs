//! Fuzzes sealed results and the requests for them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::result::sealed(data));
