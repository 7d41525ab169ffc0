//! Fuzzes the boot code's parameter page.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::boot::params(data));
