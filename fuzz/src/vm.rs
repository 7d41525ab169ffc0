//! What reaches the supervisor and its user's side: messages of the vmm process, answers to a name,
//! the configuration, console output on its way to a terminal.

use casemate_console::Filter;
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::vm::name::parse;
use casemate_hypervisor::vm::protocol::{FromVmm, ToVmm};

/// A message decodes or is an error; what decodes encodes to a message that says the same.
pub fn message(data: &[u8]) {
    if let Ok(message) = FromVmm::decode(data) {
        assert_eq!(FromVmm::decode(&message.encode()), Ok(message.clone()));
        if let FromVmm::Failed(text) = message {
            assert!(!text.chars().any(char::is_control), "a failure drives a terminal");
        }
    }
    if let Ok(message) = ToVmm::decode(data) {
        assert_eq!(ToVmm::decode(&message.encode()), Ok(message));
    }
}

/// An answer is a list that says the same when it is written again, or an error without a byte of
/// it.
pub fn name_answer(data: &[u8]) {
    match parse(data) {
        Ok(all) => {
            assert!((1..=64).contains(&all.len()));
            let again: String = all.iter().map(ToString::to_string).collect();
            assert_eq!(parse(again.as_bytes()), Ok(all));
        }
        Err(why) => assert!(why.to_string().is_ascii()),
    }
}

/// A configuration is understood or refused by one line of a bounded length. Without `[snp]`, whose
/// files would be read.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let checked = RawConfig::from_toml(text, "vm.toml").and_then(|mut raw| {
        raw.snp = None;
        raw.validate()
    });
    if let Err(error) = checked {
        let line = error.to_string();
        assert!(!line.contains(['\n', '\x1b']), "{line:?}");
    }
}

/// Whatever a guest writes, a terminal gets no more bytes than came, no control character but those
/// that are named, and ESC only in front of what the list of harmless sequences has. The first byte
/// chooses the terminal's code.
pub fn console_filter(data: &[u8]) {
    let Some((first, bytes)) = data.split_first() else { return };
    let utf8 = first & 1 == 0;
    let mut filter = Filter::new(utf8);
    let mut out = Vec::new();
    for byte in bytes {
        let passed = filter.pass(*byte);
        assert!(passed.len() <= Filter::SLACK);
        out.extend_from_slice(passed);
    }
    assert!(out.len() <= bytes.len());
    let mut rest = &out[..];
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (0x1b, [b'[', sequence @ ..]) => {
                let end =
                    sequence.iter().position(|b| (0x40..0x7f).contains(b)).expect("a whole one");
                let (parameters, last) = (&sequence[..end], sequence[end]);
                assert!(b"mABCDEFGHIZdf`K@PLMXJsu".contains(&last), "CSI {}", last as char);
                assert!(parameters.iter().all(|b| b.is_ascii_digit() || b";:".contains(b)));
                rest = &sequence[end + 1..];
            }
            (0x1b, [b'7' | b'8' | b'D' | b'E' | b'M', more @ ..]) => rest = more,
            (0x1b, _) => panic!("ESC and {after:?}"),
            (0x07..=0x0a | 0x0d | 0x20..=0x7e, _) => {}
            (0x80..=0x9f, _) => assert!(utf8, "a control of an 8-bit terminal"),
            (0xa0.., _) => {}
            (other, _) => panic!("control character {other:#x}"),
        }
    }
    if utf8 {
        let text = std::str::from_utf8(&out).expect("UTF-8 stays whole");
        assert!(!text.chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c)));
    }
}
