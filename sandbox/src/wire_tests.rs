//! Protects the parent from what a child says. Cannot tell what a socket does with packets: that is the kernel's.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

use super::{Failure, MAX, MAX_TEXT, Message};
use crate::{Layer, Report, State};
use proptest::prelude::*;

fn states() -> Vec<State> {
    let text = |len| "x".repeat(len);
    let applied = [0, 1, MAX_TEXT].map(|len| State::Applied(text(len)));
    applied.into_iter().chain([State::Missing(text(MAX_TEXT)), State::Off]).collect()
}

/// Every layer, with each state somewhere.
fn report() -> Report {
    let mut report = Report::default();
    for (layer, state) in Layer::ALL.into_iter().zip(states().into_iter().cycle()) {
        report.record(layer, state);
    }
    report
}

fn messages() -> Vec<Message> {
    let failure = |layer, errno| Failure {
        layer,
        errno,
        call: "mount(tmpfs)".into(),
        why: if errno == 0 { "not so".into() } else { String::new() },
    };
    vec![
        Message::Confined(Report::default()),
        Message::Confined(report()),
        Message::Failed(failure(Some(Layer::EmptyRoot), libc::EPERM)),
        Message::Failed(failure(Some(Layer::Landlock), 0)),
        Message::Failed(failure(None, 0)),
    ]
}

#[test]
fn every_message_survives_the_trip_and_fits_a_packet() {
    for message in messages() {
        let bytes = message.encode();
        assert!(bytes.len() <= MAX, "{}", bytes.len());
        assert_eq!(Message::decode(&bytes), Some(message));
    }
    let all = Layer::ALL.into_iter().map(|layer| (layer, State::Missing("\u{10ffff}".repeat(999))));
    let mut longest = Report::default();
    all.for_each(|(layer, state)| longest.record(layer, state));
    assert!(Message::Confined(longest).encode().len() <= MAX);
}

/// Also writes the seeds of the fuzz target, where its folder is named.
#[test]
fn every_message_is_a_packet_from_a_child() {
    for (index, message) in messages().into_iter().enumerate() {
        let packet = message.encode();
        assert_eq!(crate::decode_packet(&packet), crate::Packet::FromChild, "{message:?}");
        if let Some(folder) = std::env::var_os("CASEMATE_WRITE_SEEDS") {
            let file = std::path::Path::new(&folder).join(format!("message-{index}"));
            std::fs::write(file, packet).unwrap();
        }
    }
}

#[test]
fn message_with_a_byte_more_or_less_is_none() {
    for message in messages() {
        let mut bytes = message.encode();
        bytes.push(0);
        assert_eq!(Message::decode(&bytes), None, "{message:?}");
        bytes.pop();
        let cut = (0..bytes.len()).filter_map(|len| Message::decode(&bytes[..len]));
        // A report that ends between two layers is a shorter report.
        assert!(cut.into_iter().all(|cut| matches!(cut, Message::Confined(_))), "{message:?}");
    }
}

#[test]
fn layer_named_twice_or_unknown_is_no_report() {
    let applied = |layer: u8| [layer, super::state::APPLIED, 0, 0];
    let packet = |layers: &[u8]| {
        let layers = layers.iter().flat_map(|layer| applied(*layer));
        [super::kind::CONFINED].into_iter().chain(layers).collect::<Vec<u8>>()
    };
    assert!(Message::decode(&packet(&[0, 1])).is_some());
    assert_eq!(Message::decode(&packet(&[1, 1])), None);
    assert_eq!(Message::decode(&packet(&[u8::MAX])), None);
    let count = u8::try_from(Layer::ALL.len()).unwrap();
    assert_eq!(Message::decode(&packet(&[count])), None);
}

#[test]
fn text_of_a_child_cannot_forge_a_line_or_drive_a_terminal() {
    let mut report = Report::default();
    report.record(Layer::UserId, State::Missing("\x1b]0;title\x07\ncasemate: all is well".into()));
    let Some(Message::Confined(report)) = Message::decode(&Message::Confined(report).encode())
    else {
        panic!("not a report")
    };
    let shown = report.to_string();
    assert_eq!(shown.lines().count(), 1, "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
}

proptest! {
    #[test]
    fn any_packet_is_a_message_or_none(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Some(message) = Message::decode(&packet) {
            prop_assert!(Message::decode(&message.encode()).is_some());
        }
    }

    #[test]
    fn changed_message_is_a_message_or_none(
        which in 0_usize..5, at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let mut bytes = messages()[which].encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::decode(&bytes);
    }
}
