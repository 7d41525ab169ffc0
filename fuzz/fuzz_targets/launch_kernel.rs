//! Fuzzes what the host says of a file that is given as a kernel.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::launch::kernel(data));
