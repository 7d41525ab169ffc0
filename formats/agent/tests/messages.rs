//! Messages between a container runtime and a guest.
//!
//! Protects: what one end writes the other reads as the same, one spelling for each message; what
//! is cut, longer, unknown or no text is an error, never a panic and never another message. Cannot
//! tell: whether an end acts rightly on what it has read.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use casemate_agent::{
    AgentError, Code, MAX_FRAME, MAX_SENTENCE, Message, Numbered, Process, Refusal, Stdio, ToGuest,
    ToHost, Wish, split, stream,
};
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,40}"
}

fn process() -> impl Strategy<Value = Process> {
    (text(), any::<u32>()).prop_map(|(container, exec)| Process { container, exec })
}

fn stdio() -> impl Strategy<Value = Stdio> {
    any::<[u32; 3]>().prop_map(|[stdin, stdout, stderr]| Stdio { stdin, stdout, stderr })
}

fn wish() -> impl Strategy<Value = Wish> {
    let texts = || prop::collection::vec(text(), 0..5);
    let numbers = (any::<[u32; 2]>(), prop::collection::vec(any::<u32>(), 0..4), any::<u64>());
    (texts(), texts(), text(), numbers, any::<[bool; 2]>()).prop_map(
        |(args, env, cwd, ([uid, gid], groups, capabilities), [readonly, terminal])| Wish {
            args,
            env,
            cwd,
            uid,
            gid,
            groups,
            capabilities,
            readonly,
            terminal,
        },
    )
}

fn to_guest() -> impl Strategy<Value = ToGuest> {
    prop_oneof![
        any::<u16>().prop_map(|version| ToGuest::Hello { version }),
        (any::<bool>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(last, part)| ToGuest::Initdata { last, part }),
        (text(), wish(), stdio()).prop_map(|(container, wish, stdio)| ToGuest::Create {
            container,
            wish,
            stdio
        }),
        text().prop_map(|container| ToGuest::Start { container }),
        (process(), wish(), stdio()).prop_map(|(process, wish, stdio)| ToGuest::Exec {
            process,
            wish,
            stdio
        }),
        (process(), any::<u8>()).prop_map(|(process, signal)| ToGuest::Signal { process, signal }),
        (process(), any::<[u16; 2]>()).prop_map(|(process, [columns, rows])| ToGuest::Resize {
            process,
            columns,
            rows
        }),
        text().prop_map(|container| ToGuest::Stats { container }),
        Just(ToGuest::Shutdown {}),
        (text(), text(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(volume, name, last, part)| ToGuest::File { volume, name, last, part }),
        text().prop_map(|container| ToGuest::Remove { container }),
    ]
}

fn to_host() -> impl Strategy<Value = ToHost> {
    prop_oneof![
        (any::<u16>(), any::<bool>()).prop_map(|(version, model)| ToHost::Hello { version, model }),
        (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 0..200))
            .prop_map(|(host_data, evidence)| ToHost::Ready { host_data, evidence }),
        Just(ToHost::Done {}),
        any::<u32>().prop_map(|pid| ToHost::Started { pid }),
        (any::<u64>(), any::<u64>(), any::<u32>())
            .prop_map(|(memory, cpu, processes)| ToHost::Stats { memory, cpu, processes }),
        text().prop_map(|text| ToHost::Refused { refusal: Refusal::new(Code::Order, text) }),
        (process(), any::<u32>()).prop_map(|(process, status)| ToHost::Exited { process, status }),
        text().prop_map(|line| ToHost::Log { line }),
    ]
}

/// Reads back what is written, in one spelling, and nothing of a part of it.
fn comes_back<M: Message + Clone + PartialEq + std::fmt::Debug>(number: u32, message: M) {
    let said = Numbered { number, message };
    let frame = said.encode().unwrap();
    assert_eq!(split::<M>(&frame), Ok(Some((said.clone(), frame.len()))));
    assert_eq!(stream::receive::<M>(&mut &frame[..]), Ok(Some(said.clone())));
    for cut in 0..frame.len() {
        assert_eq!(split::<M>(&frame[..cut]), Ok(None), "{cut}");
    }
    // A length that says less cuts a field, or leaves bytes behind the last one.
    let short = u32::try_from(frame.len() - 5).unwrap();
    let cut = [&short.to_le_bytes()[..], &frame[4..]].concat();
    assert!(split::<M>(&cut).is_err());
    let mut longer = [&frame[..], &[0]].concat();
    longer[..4].copy_from_slice(&u32::try_from(frame.len() - 3).unwrap().to_le_bytes());
    assert_eq!(split::<M>(&longer).unwrap_err(), AgentError::Trailing(1));
}

proptest! {
    #[test]
    fn what_a_runtime_says_comes_back(number: u32, message in to_guest()) {
        comes_back(number, message);
    }

    #[test]
    fn what_a_guest_says_comes_back(number: u32, message in to_host()) {
        comes_back(number, message);
    }
}

fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = u32::try_from(fields.len() + 5).unwrap();
    [&length.to_le_bytes()[..], &[1, 0, 0, 0, kind], fields].concat()
}

#[test]
fn an_unknown_kind_is_refused_by_its_number() {
    for kind in [0, 12, 99, 255] {
        assert_eq!(split::<ToGuest>(&frame(kind, &[])), Err(AgentError::UnknownKind(kind)));
    }
    assert_eq!(split::<ToHost>(&frame(9, &[])), Err(AgentError::UnknownKind(9)));
}

#[test]
fn a_length_that_no_frame_has_is_refused_before_its_bytes_come() {
    let long = u32::try_from(MAX_FRAME + 1).unwrap().to_le_bytes();
    assert_eq!(split::<ToGuest>(&long), Err(AgentError::TooLong(MAX_FRAME + 1)));
    assert_eq!(split::<ToHost>(&[0xff; 4]), Err(AgentError::TooLong(0xffff_ffff)));
    assert_eq!(split::<ToGuest>(&[4, 0, 0, 0]), Err(AgentError::Cut));
}

#[test]
fn a_message_that_fits_no_frame_is_not_sent() {
    let message = ToGuest::Initdata { last: true, part: vec![0; MAX_FRAME] };
    let said = Numbered { number: 1, message };
    assert!(matches!(said.encode(), Err(AgentError::TooLong(_))));
    assert!(stream::send(&mut Vec::new(), &said).is_err());
}

#[test]
fn a_count_of_more_than_there_is_costs_nothing() {
    // Start with a text of 4 GiB; Create with 4 billion arguments.
    assert_eq!(split::<ToGuest>(&frame(4, &[0xff; 4])), Err(AgentError::Cut));
    let fields = [&[0; 4][..], &[0xff; 4]].concat();
    assert_eq!(split::<ToGuest>(&frame(3, &fields)), Err(AgentError::Cut));
}

#[test]
fn text_is_utf_8_without_nul_and_flags_are_0_or_1() {
    let start = |text: &[u8]| {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        split::<ToGuest>(&frame(4, &[&length[..], text].concat()))
    };
    assert!(start(b"web").is_ok());
    assert_eq!(start(b"\xff"), Err(AgentError::Text));
    assert_eq!(start(b"a\0b"), Err(AgentError::Text));
    assert_eq!(split::<ToGuest>(&frame(2, &[2, 0, 0, 0, 0])), Err(AgentError::Value(2)));
}

#[test]
fn a_refusal_s_sentence_is_one_bounded_line_whoever_wrote_it() {
    let refusal = Refusal::new(Code::Differs, format!("\x1b[2J\n{}", "\u{1F980}".repeat(5000)));
    assert!(refusal.sentence.len() <= MAX_SENTENCE, "{}", refusal.sentence.len());
    assert!(!refusal.sentence.contains(['\n', '\x1b']));
    // As a hostile end would spell it.
    let mut fields = vec![7, 7, 0, 0, 0];
    fields.extend_from_slice(b"a\nb\x1b[m");
    fields[1] = 6;
    let (read, _) = split::<ToHost>(&frame(6, &fields)).unwrap().unwrap();
    let ToHost::Refused { refusal } = read.message else { panic!("{read:?}") };
    assert_eq!(refusal.sentence, "a\\nb\\u{1b}[m");
}

#[test]
fn an_end_inside_a_message_is_told_from_an_end_between_two() {
    assert_eq!(stream::receive::<ToGuest>(&mut &[][..]), Ok(None));
    assert_eq!(stream::receive::<ToGuest>(&mut &[9, 0][..]), Err(AgentError::Ended));
    assert_eq!(stream::receive::<ToGuest>(&mut &[9, 0, 0, 0, 1][..]), Err(AgentError::Ended));
}
