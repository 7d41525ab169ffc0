//! Fuzzes the source of random numbers, over memory that changes between two reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_rng::rng(data));
