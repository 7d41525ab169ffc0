//! Fuzzes pods in YAML.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::pod::yaml(data));
