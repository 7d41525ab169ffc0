//! What the vmm process tells its supervisor.

use super::kind;
use super::packet::{BadMessage, Fields, HEAD, MESSAGE_SIZE, shown, word, words};
use super::stop::{stop_fields, stop_from};
use crate::exits::{DeviceFault, ExitTotals, Note, PageRule, Stop, VcpuStep};
use crate::memory::PageStateTotals;
use casemate_policy::{NetRule, RuntimeRule};

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
    pub(super) const ALL: [Self; 5] =
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
    pub rule: RuntimeRule,
    /// Requests.
    pub times: u64,
    /// Pages of all these requests; of network traffic as many as times.
    pub pages: u64,
}

/// The number of a rule in a message.
pub(in crate::vm) const fn rule_number(rule: RuntimeRule) -> u8 {
    match rule {
        RuntimeRule::Page(PageRule::Changes) => 0,
        RuntimeRule::Page(PageRule::Shared) => 1,
        RuntimeRule::Net(NetRule::Egress) => 2,
        RuntimeRule::Net(NetRule::Rate) => 3,
    }
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
                // Of network traffic another process tells.
                let rules = PageRule::ALL.map(RuntimeRule::from);
                let rule = rules.into_iter().find(|rule| rule_number(*rule) == sub);
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
