//! Fuzzes kernel modules and the initramfs that has them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::image::module(data));
