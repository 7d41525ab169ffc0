//! Fuzzes a front end by the answers of a device process.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_answers::answers(data));
