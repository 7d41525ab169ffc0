//! Fuzzes descriptions of workloads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::host::workload_file(data));
