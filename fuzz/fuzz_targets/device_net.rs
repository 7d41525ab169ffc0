//! Fuzzes the network device and its filter, over memory that changes between two reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_net::net(data));
