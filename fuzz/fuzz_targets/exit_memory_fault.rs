//! Fuzzes the `memory_fault` exit: translation, dispatch, handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::memory_fault(data));
