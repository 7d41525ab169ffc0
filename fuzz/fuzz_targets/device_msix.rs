//! Fuzzes MSI-X: the table, masks and vectors of a running device.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device::msix(data));
