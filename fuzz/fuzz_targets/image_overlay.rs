//! Fuzzes layers that become disks by themselves.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::image::overlay(data));
