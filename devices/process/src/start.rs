//! What a device process is told at its start: which device it is, who its front end is, and that
//! device's own bytes.
//!
//! The image is one program for every kind of device, so the first byte says which. It believes
//! its supervisor, who could do worse than lie to it; it decodes totally all the same: what is not
//! known ends it.

use casemate_device_block::profile as block;
use casemate_device_vsock::profile as vsock;
use casemate_sandbox::{Child, Image, Layers, Profile, SandboxError, spawn_image_with};
use std::os::fd::{AsFd, BorrowedFd};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// A disk over a raw image.
    Block,
    /// Streams between the guest and sockets of the host.
    Vsock,
}

impl DeviceKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Block, Self::Vsock];

    /// The name that users know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Vsock => "vsock",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Vsock => 2,
        }
    }

    /// What it may do until its front end has sent what it needs.
    #[must_use]
    pub const fn set_up(self) -> &'static Profile {
        match self {
            Self::Block => &block::SET_UP,
            Self::Vsock => &vsock::SET_UP,
        }
    }

    /// What it may do from then on, in a VM of our own.
    #[must_use]
    pub const fn steady(self) -> &'static Profile {
        match self {
            Self::Block => &block::STEADY,
            Self::Vsock => &vsock::STEADY,
        }
    }

    /// The same for another VMM.
    #[must_use]
    pub const fn foreign(self) -> &'static Profile {
        match self {
            Self::Block => &block::FOREIGN,
            Self::Vsock => &vsock::FOREIGN,
        }
    }
}

/// Who the front end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrontEnd {
    /// The vmm process of the same version. It gives its memory once, and every descriptor, before
    /// its guest runs; then nothing more ever arrives.
    Ours,
    /// Another VMM, whose memory and descriptors may change at any time.
    Foreign,
}

impl FrontEnd {
    const ALL: [Self; 2] = [Self::Ours, Self::Foreign];

    const fn number(self) -> u8 {
        match self {
            Self::Ours => 1,
            Self::Foreign => 2,
        }
    }
}

/// A start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which device.
    pub kind: DeviceKind,
    /// For whom.
    pub front_end: FrontEnd,
    /// The device's own bytes, which its crate encodes and decodes.
    pub config: Vec<u8>,
}

impl Start {
    /// The bytes of an image's start.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&[self.kind.number(), self.front_end.number()], &self.config[..]].concat()
    }

    /// The start of these bytes; None where kind or front end is not known. Whether the device's
    /// own bytes make sense, its crate says.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let ([kind, front_end], config) = bytes.split_first_chunk()?;
        let kind = DeviceKind::ALL.into_iter().find(|known| known.number() == *kind)?;
        let front_end = FrontEnd::ALL.into_iter().find(|known| known.number() == *front_end)?;
        Some(Self { kind, front_end, config: config.to_vec() })
    }
}

/// Starts a device process: `socket` leads to its front end, `control` (SEQPACKET) to whoever
/// watches it, and `own` are what its kind has, in its order: for a disk its image. `before` is
/// called before it begins, see [`spawn_image_with`].
///
/// # Errors
/// [`SandboxError`].
pub fn spawn(
    image: &Image,
    layers: Layers,
    start: &Start,
    socket: &impl AsFd,
    control: &impl AsFd,
    own: &[BorrowedFd<'_>],
    before: impl FnOnce(&Child),
) -> Result<Child, SandboxError> {
    let layers = layers.keep(socket).keep(control);
    let layers = own.iter().fold(layers, Layers::keep);
    spawn_image_with(layers, image, &start.encode(), before)
}

#[cfg(test)]
mod tests {
    use super::{DeviceKind, FrontEnd, Start};
    use proptest::prelude::*;

    #[test]
    fn every_start_survives_the_trip() {
        for kind in DeviceKind::ALL {
            for front_end in FrontEnd::ALL {
                let start = Start { kind, front_end, config: vec![0, 255, 7] };
                assert_eq!(Start::decode(&start.encode()), Some(start));
            }
        }
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same(bytes in prop::collection::vec(0_u8..4, 0..8)) {
            if let Some(start) = Start::decode(&bytes) {
                prop_assert_eq!(start.encode(), bytes);
            } else {
                let known = |byte: Option<&u8>| byte.is_some_and(|byte| (1..3).contains(byte));
                prop_assert!(!known(bytes.first()) || !known(bytes.get(1)));
            }
        }
    }
}
