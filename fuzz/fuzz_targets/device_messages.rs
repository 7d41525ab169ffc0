//! Fuzzes a device process by the messages of its front end.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::device_messages::messages(data));
