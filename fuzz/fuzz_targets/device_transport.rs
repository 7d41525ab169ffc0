//! Fuzzes virtio-pci as a whole, against a model of virtio 1.2.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device::transport(data));
