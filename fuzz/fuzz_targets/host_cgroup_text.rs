//! Fuzzes the kernel's text about control groups.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::host::cgroup_text(data));
