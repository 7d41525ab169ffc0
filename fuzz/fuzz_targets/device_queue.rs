//! Fuzzes the reader of split queues, over memory that changes between two reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::devices::queue(data));
