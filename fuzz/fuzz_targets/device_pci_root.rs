//! Fuzzes the PCI bus and its functions by the exits of a guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_pci_root::pci_root(data));
