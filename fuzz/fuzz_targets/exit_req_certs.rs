//! Fuzzes the `req_certs` exit: translation, dispatch, handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::req_certs(data));
