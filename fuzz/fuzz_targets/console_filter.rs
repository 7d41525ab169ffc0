//! Fuzzes console output on its way to a terminal.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::console_filter(data));
