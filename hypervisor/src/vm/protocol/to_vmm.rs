//! What the supervisor tells the vmm process.

use super::kind;
use super::packet::{BadMessage, Fields, MESSAGE_SIZE};

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
