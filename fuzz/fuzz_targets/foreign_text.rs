//! Fuzzes the printer of foreign text: see the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::azure::foreign_text(data));
