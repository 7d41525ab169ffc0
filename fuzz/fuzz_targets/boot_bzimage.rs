//! Fuzzes a bzImage header, and where the kernel would go.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::boot::bzimage(data));
