//! Fuzzes requests to the supervisor of a running VM, and its answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::management(data));
