//! Fuzzes Debian packages of kernels.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::image::package(data));
