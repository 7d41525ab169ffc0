//! Fuzzes the socket device's connections, over memory that changes between two reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_vsock::vsock(data));
