//! Fuzzes what a device process is told and what it says.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_words::words(data));
