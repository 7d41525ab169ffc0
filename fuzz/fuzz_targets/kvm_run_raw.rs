//! Fuzzes the translation of `kvm_run` with arbitrary bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::kvm_run_raw(data));
