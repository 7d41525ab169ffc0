//! Fuzzes a console's port, over memory that changes between two reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_console::console(data));
