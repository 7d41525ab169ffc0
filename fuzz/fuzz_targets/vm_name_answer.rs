//! Fuzzes answers to the name of a VM.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::vm::name_answer(data));
