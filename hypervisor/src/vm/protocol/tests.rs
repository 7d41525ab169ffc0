//! Protects both sides: each message arrives as it was sent, and bytes that are none are refused.
//! Cannot tell what a side does with a message that it should not have sent.

use super::packet::{HEAD, shown};
use super::{Denied, FromVmm, MESSAGE_SIZE, Phase, ToVmm};
use crate::exits::{DeviceFault, ExitTotals, Note, PageRule, Stop, VcpuStep};
use crate::memory::PageStateTotals;
use proptest::prelude::*;

fn stops() -> Vec<Stop> {
    vec![
        Stop::PowerOff { status: None },
        Stop::PowerOff { status: Some(255) },
        Stop::Reset,
        Stop::Shutdown,
        Stop::BootRefused(u32::MAX),
        Stop::Refused(u8::MAX),
        Stop::Terminated { set: 15, code: 255 },
        Stop::MemoryFault { gpa: shown(u64::MAX), private: true },
        Stop::InternalError { suberror: 3 },
        Stop::FailEntry { reason: u64::MAX },
        Stop::RunFailed { errno: 22 },
        Stop::UnexpectedExit { reason: 99 },
        Stop::PageStateLimit,
        Stop::DeviceFailed { device: 7, fault: DeviceFault::Silent },
    ]
}

#[test]
fn every_message_survives_the_trip() {
    let mut messages: Vec<FromVmm> = stops().into_iter().map(FromVmm::Stopped).collect();
    messages.extend(Phase::ALL.map(FromVmm::Phase));
    messages.extend([
        FromVmm::Mark(9),
        FromVmm::DeviceLost { device: 255, second: true, fault: DeviceFault::Unasked },
        FromVmm::DeviceTakenOver { device: 7 },
        FromVmm::Vcpu { index: 63, step: VcpuStep::FirstExit },
        FromVmm::Vcpu { index: u32::MAX, step: VcpuStep::Stopped },
        FromVmm::Exits { vcpu: 1, totals: ExitTotals(std::array::from_fn(|i| i as u64 + 1)) },
        FromVmm::PageStates(PageStateTotals { to_private: 1, to_shared: 2, refused: u64::MAX }),
        FromVmm::Launched { pages: 15, micros: 15_000 },
        FromVmm::Note(Note::PageStateRefused { gpa: shown(1), pages: shown(u64::MAX) }),
        FromVmm::Note(Note::UnknownHypercall { number: shown(7) }),
        FromVmm::Denied(Denied { rule: PageRule::Shared.into(), times: u64::MAX, pages: 1 }),
        FromVmm::Failed("KVM_CREATE_VM failed (plain VM): no".into()),
    ]);
    for message in messages {
        assert_eq!(FromVmm::decode(&message.encode()), Ok(message));
    }
    for message in [
        ToVmm::Launch,
        ToVmm::PowerButton,
        ToVmm::TakeOver { device: 7 },
        ToVmm::Keep { device: 255 },
    ] {
        assert_eq!(ToVmm::decode(&message.encode()), Ok(message));
    }
}

#[test]
fn failure_text_is_bounded_and_cannot_drive_a_terminal() {
    let text = format!("\x1b[2J{}", "x".repeat(1000));
    let Ok(FromVmm::Failed(text)) = FromVmm::decode(&FromVmm::Failed(text).encode()) else {
        panic!("not a failure")
    };
    assert!(text.len() <= MESSAGE_SIZE - HEAD && !text.contains('\x1b'));
}

proptest! {
    #[test]
    fn any_packet_is_a_message_or_an_error(packet in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = FromVmm::decode(&packet);
        let _ = ToVmm::decode(&packet);
    }

    #[test]
    fn decoded_messages_encode_to_themselves(packet in proptest::array::uniform32(any::<u8>())) {
        let mut whole = [0; MESSAGE_SIZE];
        whole[..32].copy_from_slice(&packet);
        // Every kind that there is, and the next.
        whole[0] %= 14;
        whole[1] %= 13;
        if let Ok(message) = FromVmm::decode(&whole) {
            prop_assert_eq!(FromVmm::decode(&message.encode()), Ok(message));
        }
    }
}
