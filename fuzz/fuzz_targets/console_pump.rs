//! Fuzzes the console's pump.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::console::pump(data));
