//! Fuzzes what a pod's guest says to a container runtime.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::agent::to_host(data));
