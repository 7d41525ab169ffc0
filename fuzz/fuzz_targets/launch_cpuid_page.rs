//! Fuzzes the CPUID page of an SEV-SNP guest.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::launch::cpuid_page(data));
