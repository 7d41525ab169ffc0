//! Fuzzes the `hypercall` exit: translation, dispatch, handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::hypercall(data));
