//! Fuzzes the messages between the two processes of a key broker, in both directions.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::relay::relay(data));
