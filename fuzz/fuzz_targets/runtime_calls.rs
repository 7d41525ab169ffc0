//! Fuzzes what containerd hands to the runtime of a pod.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::runtime::calls(data));
