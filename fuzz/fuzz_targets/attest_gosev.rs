//! Fuzzes `attestation`: see the body.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::attest::gosev(data));
