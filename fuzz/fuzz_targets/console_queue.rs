//! Fuzzes the console's queue.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::console_queue(data));
