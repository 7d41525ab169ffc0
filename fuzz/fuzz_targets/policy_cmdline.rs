//! Fuzzes the reading of a kernel command line.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::policy::cmdline(data));
