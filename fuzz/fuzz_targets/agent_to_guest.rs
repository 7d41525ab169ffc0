//! Fuzzes what a container runtime says to a pod's guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::agent::to_guest(data));
