//! What the vmm process and its supervisor say to each other: one fixed-size message per packet.
//!
//! Neither trusts the other's bytes: a message that does not decode is an error of the peer.
//! Guest-controlled numbers travel as data, never as formatted text. Sockets are SEQPACKET, so
//! messages keep their borders.

use crate::exits::{DeviceFault, ExitTotals, Note, PageRule, Stop, VcpuStep};
use crate::memory::PageStateTotals;
use casemate_values::Shown;

/// Bytes of every message.
pub const MESSAGE_SIZE: usize = 256;
/// Bytes before its words or text.
const HEAD: usize = 8;
const _: () = assert!(HEAD + 8 * crate::exits::EXITS.len() <= MESSAGE_SIZE, "counts fit");

/// A step of the launch that the vmm process reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// The process is in its namespaces.
    Born = 1,
    /// Guest memory has its contents, the boot processor its registers.
    Memory = 2,
    /// The VM is set up: memory without contents, interrupt controllers, every vCPU. The process is
    /// confined, but for its filter, and waits for the plan.
    Vcpus = 3,
    /// The process is locked.
    Locked = 4,
    /// The boot vCPU enters the guest.
    FirstInstruction = 5,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::Born, Self::Memory, Self::Vcpus, Self::Locked, Self::FirstInstruction];
}

/// From the vmm process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromVmm {
    /// A step of the launch is done.
    Phase(Phase),
    /// The firmware has launched this many pages, in this time.
    Launched {
        /// Pages, VMSAs included.
        pages: u64,
        /// Microseconds.
        micros: u64,
    },
    /// The guest marked a step of its boot.
    Mark(u8),
    /// Something worth logging.
    Note(Note),
    /// The policy denies the guest something, so often by now.
    Denied(Denied),
    /// A vCPU has come to a step of its life.
    Vcpu {
        /// Which.
        index: u32,
        /// The step.
        step: VcpuStep,
    },
    /// The process of a device cannot be gone on with; its device waits for what is decided.
    DeviceLost {
        /// The device's number.
        device: u8,
        /// Whether it is the process that had taken over from the first.
        second: bool,
        /// What is wrong with it.
        fault: DeviceFault,
    },
    /// A device's standby serves it.
    DeviceTakenOver {
        /// The device's number.
        device: u8,
    },
    /// How often a vCPU has left the guest, at the end.
    Exits {
        /// Which.
        vcpu: u32,
        /// By reason.
        totals: ExitTotals,
    },
    /// How a confidential guest has changed its pages, at the end.
    PageStates(PageStateTotals),
    /// The VM has stopped; the process exits after this.
    Stopped(Stop),
    /// The launch failed; the process exits after this.
    Failed(String),
}

/// How often a rule of the policy has denied this VM something, since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// The rule.
    pub rule: PageRule,
    /// Requests.
    pub times: u64,
    /// Pages of all these requests.
    pub pages: u64,
}

/// To the vmm process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToVmm {
    /// Launch the plan that was handed over: the first message, and sent once.
    Launch,
    /// Press the power button.
    PowerButton,
    /// The process of a device is dead: its standby is to go on.
    TakeOver {
        /// The device's number.
        device: u8,
    },
    /// The process of a device is dead: the guest is to go on without it.
    Keep {
        /// The device's number.
        device: u8,
    },
}

/// A packet is not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other process sent a message that makes no sense (kind {kind}, {len} bytes)")]
pub struct BadMessage {
    kind: u8,
    len: usize,
}

impl BadMessage {
    pub(super) fn of(packet: &[u8]) -> Self {
        Self { kind: packet.first().copied().unwrap_or(0), len: packet.len() }
    }
}

/// Layout: kind u8, subkind u8, two bytes of padding, a u32, then three u64 (or text).
/// Little-endian.
struct Fields {
    kind: u8,
    sub: u8,
    small: u32,
    words: [u64; 3],
}

impl Fields {
    const fn new(kind: u8, sub: u8) -> Self {
        Self { kind, sub, small: 0, words: [0; 3] }
    }
    const fn small(mut self, small: u32) -> Self {
        self.small = small;
        self
    }
    const fn words(mut self, first: u64, second: u64) -> Self {
        self.words = [first, second, 0];
        self
    }

    fn encode(&self) -> [u8; MESSAGE_SIZE] {
        let mut bytes = [0; MESSAGE_SIZE];
        let fields = [self.kind, self.sub, 0, 0]
            .into_iter()
            .chain(self.small.to_le_bytes())
            .chain(self.words.into_iter().flat_map(u64::to_le_bytes));
        for (to, byte) in bytes.iter_mut().zip(fields) {
            *to = byte;
        }
        bytes
    }

    /// The same with other contents than words, as many as fit.
    fn encode_with(&self, contents: impl Iterator<Item = u8>) -> [u8; MESSAGE_SIZE] {
        let mut bytes = self.encode();
        for (to, byte) in bytes.iter_mut().skip(HEAD).zip(contents) {
            *to = byte;
        }
        bytes
    }

    fn decode(bytes: &[u8; MESSAGE_SIZE]) -> Self {
        let [kind, sub, _, _, a, b, c, d, ..] = *bytes;
        let small = u32::from_le_bytes([a, b, c, d]);
        Self { kind, sub, small, words: words(bytes) }
    }
}

/// The first words behind a message's head.
fn words<const N: usize>(bytes: &[u8; MESSAGE_SIZE]) -> [u64; N] {
    let chunks = bytes.get(HEAD..).unwrap_or(&[]).chunks_exact(8);
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = chunk.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    }
    words
}

mod kind {
    pub(super) const PHASE: u8 = 1;
    pub(super) const MARK: u8 = 2;
    pub(super) const NOTE: u8 = 3;
    pub(super) const DENIED: u8 = 4;
    pub(super) const STOPPED: u8 = 5;
    pub(super) const FAILED: u8 = 6;
    pub(super) const LAUNCHED: u8 = 7;
    pub(super) const VCPU: u8 = 8;
    pub(super) const EXITS: u8 = 9;
    pub(super) const PAGE_STATES: u8 = 10;
    pub(super) const DEVICE_LOST: u8 = 11;
    pub(super) const DEVICE_TAKEN_OVER: u8 = 12;
    pub(super) const POWER_BUTTON: u8 = 65;
    pub(super) const LAUNCH: u8 = 66;
    pub(super) const TAKE_OVER: u8 = 67;
    pub(super) const KEEP: u8 = 68;
}

/// A guest's number as a word of a message.
const fn word(shown: Shown) -> u64 {
    u64::from_le_bytes(shown.to_message())
}

const fn shown(word: u64) -> Shown {
    Shown::from_message(word.to_le_bytes())
}

/// The number of a rule in a message.
pub(super) const fn rule_number(rule: PageRule) -> u8 {
    match rule {
        PageRule::Changes => 0,
        PageRule::Shared => 1,
    }
}

/// Marks "no status" beside the 256 statuses.
const NO_STATUS: u32 = u32::MAX;

fn stop_fields(stop: Stop) -> Fields {
    let stopped = |sub| Fields::new(kind::STOPPED, sub);
    match stop {
        Stop::PowerOff { status } => stopped(0).small(status.map_or(NO_STATUS, u32::from)),
        Stop::Reset => stopped(1),
        Stop::Shutdown => stopped(2),
        Stop::BootRefused(code) => stopped(3).small(code),
        Stop::Terminated { set, code } => stopped(4).small(u32::from(set) << 8 | u32::from(code)),
        Stop::MemoryFault { gpa, private } => stopped(5).words(word(gpa), u64::from(private)),
        Stop::InternalError { suberror } => stopped(6).small(suberror),
        Stop::FailEntry { reason } => stopped(7).words(reason, 0),
        Stop::RunFailed { errno } => stopped(8).small(errno.cast_unsigned()),
        Stop::UnexpectedExit { reason } => stopped(9).small(reason),
        Stop::PageStateLimit => stopped(10),
        Stop::Refused(code) => stopped(12).small(u32::from(code)),
        Stop::DeviceFailed { device, fault } => {
            stopped(11).small(u32::from(device) << 8 | fault as u32)
        }
    }
}

fn stop_from(fields: &Fields) -> Option<Stop> {
    let byte = |value: u32| u8::try_from(value & 0xff).unwrap_or(0);
    Some(match fields.sub {
        0 => Stop::PowerOff { status: u8::try_from(fields.small).ok() },
        1 => Stop::Reset,
        2 => Stop::Shutdown,
        3 => Stop::BootRefused(fields.small),
        4 => Stop::Terminated { set: byte(fields.small >> 8), code: byte(fields.small) },
        5 => Stop::MemoryFault { gpa: shown(fields.words[0]), private: fields.words[1] != 0 },
        6 => Stop::InternalError { suberror: fields.small },
        7 => Stop::FailEntry { reason: fields.words[0] },
        8 => Stop::RunFailed { errno: fields.small.cast_signed() },
        9 => Stop::UnexpectedExit { reason: fields.small },
        10 => Stop::PageStateLimit,
        11 => {
            let fault = byte(fields.small);
            let fault = DeviceFault::ALL.into_iter().find(|known| *known as u8 == fault)?;
            Stop::DeviceFailed { device: byte(fields.small >> 8), fault }
        }
        12 => Stop::Refused(byte(fields.small)),
        _ => return None,
    })
}

impl FromVmm {
    /// The packet for this message.
    #[must_use]
    pub fn encode(&self) -> [u8; MESSAGE_SIZE] {
        match self {
            Self::Phase(phase) => Fields::new(kind::PHASE, *phase as u8).encode(),
            Self::Launched { pages, micros } => {
                Fields::new(kind::LAUNCHED, 0).words(*pages, *micros).encode()
            }
            Self::Mark(step) => Fields::new(kind::MARK, *step).encode(),
            Self::Note(Note::PageStateRefused { gpa, pages }) => {
                Fields::new(kind::NOTE, 0).words(word(*gpa), word(*pages)).encode()
            }
            Self::Note(Note::UnknownHypercall { number }) => {
                Fields::new(kind::NOTE, 1).words(word(*number), 0).encode()
            }
            Self::Denied(Denied { rule, times, pages }) => {
                Fields::new(kind::DENIED, rule_number(*rule)).words(*times, *pages).encode()
            }
            Self::Vcpu { index, step: VcpuStep::FirstExit } => {
                Fields::new(kind::VCPU, 0).small(*index).encode()
            }
            Self::Vcpu { index, step: VcpuStep::Stopped } => {
                Fields::new(kind::VCPU, 1).small(*index).encode()
            }
            Self::DeviceLost { device, second, fault } => {
                let small = u32::from(*second) << 8 | u32::from(*device);
                Fields::new(kind::DEVICE_LOST, *fault as u8).small(small).encode()
            }
            Self::DeviceTakenOver { device } => {
                Fields::new(kind::DEVICE_TAKEN_OVER, 0).small((*device).into()).encode()
            }
            Self::Exits { vcpu, totals } => {
                let counts = totals.0.into_iter().flat_map(u64::to_le_bytes);
                Fields::new(kind::EXITS, 0).small(*vcpu).encode_with(counts)
            }
            Self::PageStates(PageStateTotals { to_private, to_shared, refused }) => {
                let mut fields = Fields::new(kind::PAGE_STATES, 0);
                fields.words = [*to_private, *to_shared, *refused];
                fields.encode()
            }
            Self::Stopped(stop) => stop_fields(*stop).encode(),
            Self::Failed(text) => Fields::new(kind::FAILED, 0).encode_with(text.bytes()),
        }
    }

    /// The message in a packet.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn decode(packet: &[u8]) -> Result<Self, BadMessage> {
        let bad = BadMessage::of(packet);
        let bytes: &[u8; MESSAGE_SIZE] = packet.try_into().map_err(|_| bad)?;
        let fields = Fields::decode(bytes);
        match (fields.kind, fields.sub) {
            (kind::PHASE, sub) => {
                let phase = Phase::ALL.into_iter().find(|phase| *phase as u8 == sub);
                phase.map(Self::Phase).ok_or(bad)
            }
            (kind::LAUNCHED, _) => {
                let [pages, micros, _] = fields.words;
                Ok(Self::Launched { pages, micros })
            }
            (kind::MARK, step) => Ok(Self::Mark(step)),
            (kind::NOTE, 0) => {
                let [gpa, pages, _] = fields.words;
                let (gpa, pages) = (shown(gpa), shown(pages));
                Ok(Self::Note(Note::PageStateRefused { gpa, pages }))
            }
            (kind::NOTE, 1) => {
                let number = shown(fields.words[0]);
                Ok(Self::Note(Note::UnknownHypercall { number }))
            }
            (kind::DENIED, sub) => {
                let [times, pages, _] = fields.words;
                let rule = PageRule::ALL.into_iter().find(|rule| rule_number(*rule) == sub);
                rule.map(|rule| Self::Denied(Denied { rule, times, pages })).ok_or(bad)
            }
            (kind::VCPU, sub) => {
                let step = match sub {
                    0 => VcpuStep::FirstExit,
                    1 => VcpuStep::Stopped,
                    _ => return Err(bad),
                };
                Ok(Self::Vcpu { index: fields.small, step })
            }
            (kind::DEVICE_LOST, sub) => {
                let [device, second, 0, 0] = fields.small.to_le_bytes() else { return Err(bad) };
                let fault = DeviceFault::ALL.into_iter().find(|known| *known as u8 == sub);
                match (fault, second) {
                    (Some(fault), 0 | 1) => {
                        Ok(Self::DeviceLost { device, second: second == 1, fault })
                    }
                    _ => Err(bad),
                }
            }
            (kind::DEVICE_TAKEN_OVER, _) => {
                let device = u8::try_from(fields.small).map_err(|_| bad)?;
                Ok(Self::DeviceTakenOver { device })
            }
            (kind::EXITS, _) => {
                Ok(Self::Exits { vcpu: fields.small, totals: ExitTotals(words(bytes)) })
            }
            (kind::PAGE_STATES, _) => {
                let [to_private, to_shared, refused] = fields.words;
                Ok(Self::PageStates(PageStateTotals { to_private, to_shared, refused }))
            }
            (kind::STOPPED, _) => stop_from(&fields).map(Self::Stopped).ok_or(bad),
            (kind::FAILED, _) => {
                let text = bytes.iter().skip(HEAD).take_while(|b| **b != 0).copied();
                // Control characters could drive the terminal of whoever reads the message.
                let text = String::from_utf8_lossy(&text.collect::<Vec<u8>>())
                    .replace(|c: char| c.is_control(), " ");
                Ok(Self::Failed(text))
            }
            _ => Err(bad),
        }
    }
}

impl ToVmm {
    /// The packet for this message.
    #[must_use]
    pub fn encode(self) -> [u8; MESSAGE_SIZE] {
        match self {
            Self::Launch => Fields::new(kind::LAUNCH, 0).encode(),
            Self::PowerButton => Fields::new(kind::POWER_BUTTON, 0).encode(),
            Self::TakeOver { device } => Fields::new(kind::TAKE_OVER, device).encode(),
            Self::Keep { device } => Fields::new(kind::KEEP, device).encode(),
        }
    }

    /// The message in a packet.
    ///
    /// # Errors
    /// [`BadMessage`].
    pub fn decode(packet: &[u8]) -> Result<Self, BadMessage> {
        match packet {
            [kind::POWER_BUTTON, ..] if packet.len() == MESSAGE_SIZE => Ok(Self::PowerButton),
            [kind::LAUNCH, ..] if packet.len() == MESSAGE_SIZE => Ok(Self::Launch),
            &[kind::TAKE_OVER, device, ..] if packet.len() == MESSAGE_SIZE => {
                Ok(Self::TakeOver { device })
            }
            &[kind::KEEP, device, ..] if packet.len() == MESSAGE_SIZE => Ok(Self::Keep { device }),
            _ => Err(BadMessage::of(packet)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            FromVmm::Denied(Denied { rule: PageRule::Shared, times: u64::MAX, pages: 1 }),
            FromVmm::Failed("KVM_CREATE_VM failed (plain VM): no".into()),
        ]);
        for message in messages {
            assert_eq!(FromVmm::decode(&message.encode()), Ok(message));
        }
        for message in [ToVmm::Launch, ToVmm::PowerButton] {
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
            whole[0] %= 11;
            whole[1] %= 13;
            if let Ok(message) = FromVmm::decode(&whole) {
                prop_assert_eq!(FromVmm::decode(&message.encode()), Ok(message));
            }
        }
    }
}
