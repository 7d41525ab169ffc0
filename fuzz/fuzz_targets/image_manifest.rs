//! Fuzzes manifests and root disks of command lines.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::image::manifest(data));
