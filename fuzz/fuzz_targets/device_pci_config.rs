//! Fuzzes the PCI configuration space of a device's function.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device::pci_config(data));
