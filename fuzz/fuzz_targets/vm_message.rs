//! Fuzzes messages of the vmm process.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::message(data));
