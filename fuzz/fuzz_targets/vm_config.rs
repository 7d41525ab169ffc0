//! Fuzzes configurations of VMs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::config(data));
