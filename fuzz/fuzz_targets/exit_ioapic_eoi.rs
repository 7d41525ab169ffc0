//! Fuzzes the `ioapic_eoi` exit: translation, dispatch, handler.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| casemate_fuzz::exits::ioapic_eoi(data));
