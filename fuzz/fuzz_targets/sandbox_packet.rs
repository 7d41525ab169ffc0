//! Fuzzes the packets between a parent and the process that it confines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::sandbox::packet(data));
