//! Fuzzes an ELF kernel's headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::boot::elf(data));
