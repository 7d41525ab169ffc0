//! Fuzzes the `internal_error` exit: translation, dispatch, handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::internal_error(data));
