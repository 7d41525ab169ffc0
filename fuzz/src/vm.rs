//! What reaches the supervisor and its user's side: messages of the vmm process, answers to a name,
//! the configuration, console output on its way to a terminal.

use arbitrary::{Result, Unstructured};
use casemate_console::Filter;
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::devices::ConsoleQueue;
use casemate_hypervisor::event::Event;
use casemate_hypervisor::launch::Shape;
use casemate_hypervisor::vm::manage::{Answer, Request};
use casemate_hypervisor::vm::name::parse;
use casemate_hypervisor::vm::protocol::{FromVmm, ToVmm};
use casemate_hypervisor::vm::recorder::message::{FromRecorder, ToRecorder};
use std::collections::VecDeque;
use std::io::Write;

/// Bytes of text that a message has room for.
const TEXT: usize = 248;

/// A message decodes or is an error; what decodes encodes to a message that says the same.
pub fn message(data: &[u8]) {
    if let Ok(message) = FromVmm::decode(data) {
        match (FromVmm::decode(&message.encode()), message) {
            // What was escaped is longer than what came, and may not fit a second time: then it is
            // cut, and what is there is the beginning.
            (Ok(FromVmm::Failed(again)), FromVmm::Failed(text)) => {
                assert!(!text.chars().any(char::is_control), "a failure drives a terminal");
                assert!(text.starts_with(&again), "{again:?} of {text:?}");
                assert!(again == text || again.len() + 8 > TEXT, "{again:?} of {text:?}");
            }
            (again, message) => assert_eq!(again, Ok(message)),
        }
    }
    if let Ok(message) = ToVmm::decode(data) {
        assert_eq!(ToVmm::decode(&message.encode()), Ok(message));
    }
    // A record travels as a line of a log, which has one spelling.
    if let Ok(message) = ToRecorder::decode(data) {
        assert_eq!(message.encode(), data);
    }
    if let Ok(FromRecorder::Failed { text, .. }) = FromRecorder::decode(data) {
        assert!(!text.chars().any(char::is_control), "a failure drives a terminal");
    }
    shape(data);
}

/// What the vmm process is told at its start is a VM's shape or nothing, and each has one spelling.
fn shape(data: &[u8]) {
    if let Some((bytes, Some(shape))) = data.first_chunk().map(|b| (b, Shape::from_bytes(b))) {
        assert_eq!(shape.to_bytes(), *bytes);
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

/// What who manages a VM asks, and what its supervisor answers: understood whole, in one spelling,
/// or not at all, and no more is kept of it than came.
pub fn management(data: &[u8]) {
    if let Some(request) = Request::decode(data) {
        assert_eq!(request.to_string().as_bytes(), data);
    }
    match Answer::decode(data) {
        // Members may come in another order.
        Ok(Answer::Facts(facts)) => {
            let again = Answer::Facts(facts);
            assert_eq!(Answer::decode(again.to_string().as_bytes()), Ok(again));
        }
        Ok(answer) => assert_eq!(answer.to_string().as_bytes(), data),
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

/// The console's queue against a plain list of bytes: writers that wait when they are asked to lose
/// nothing, order holds, memory is bounded whoever does not wait, nothing comes after the end, and
/// the reader is told of bytes that it does not know of.
pub fn console_queue(data: &[u8]) {
    let _ = console_queue_of(&mut Unstructured::new(data));
}

fn console_queue_of(u: &mut Unstructured) -> Result<()> {
    const LIMIT: usize = 64 * 1024;
    let (ready, vcpus) = (Event::new().expect("an eventfd"), u.int_in_range(1..=4_u32)?);
    let queue = ConsoleQueue::new(ready.clone(), vcpus);
    let mut writer = queue.clone();
    let room = LIMIT + 4096 * vcpus as usize;
    let (mut held, mut closed) = (VecDeque::<u8>::new(), false);
    let mut next = 0_u8;
    for _ in 0..u.int_in_range(1..=64)? {
        match u.int_in_range(0..=9_u8)? {
            0..=5 => {
                // Up to more than one exit can write.
                let len = u.int_in_range(0..=6000_usize)?;
                let bytes: Vec<u8> = (0..len).map(|at| next.wrapping_add(at as u8)).collect();
                next = next.wrapping_add(len as u8);
                assert_eq!(writer.write(&bytes).expect("never fails"), len);
                let was_empty = held.is_empty();
                if !closed {
                    held.extend(bytes.iter().take(room - held.len()));
                    assert_eq!(ready.take() > 0, was_empty && len > 0, "who reads is told");
                }
            }
            6..=8 => {
                let mut out = vec![0; u.int_in_range(0..=5000_usize)?];
                let taken = queue.take(&mut out);
                assert_eq!(taken, out.len().min(held.len()));
                assert!(
                    held.drain(..taken).eq(out.drain(..taken)),
                    "other bytes, or another order"
                );
            }
            _ => {
                queue.close();
                closed = true;
            }
        }
        if !closed && held.len() < LIMIT {
            // Must not wait for anybody: nobody else is there.
            queue.wait_for_room();
        }
    }
    Ok(())
}
