//! What a device process is told at its start: which device it is, who its front end is, and that
//! device's own bytes.
//!
//! The image is one program for every kind of device, so the first byte says which. It believes
//! its supervisor, who could do worse than lie to it; it decodes totally all the same: what is not
//! known ends it.

use crate::kind::DeviceKind;
use casemate_sandbox::{Child, Image, Layers, SandboxError, spawn_image_with};
use std::os::fd::{AsFd, BorrowedFd};

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

/// What a device process is told when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which device it is to be.
    pub kind: DeviceKind,
    /// Who will speak to it.
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
        let kind = DeviceKind::of_number(*kind)?;
        let front_end = FrontEnd::ALL.into_iter().find(|known| known.number() == *front_end)?;
        Some(Self { kind, front_end, config: config.to_vec() })
    }
}

/// Starts a device process: `socket` leads to its front end, or listens for the one that will come,
/// `control` (SEQPACKET) leads to whoever watches it, and `own` are what its kind has, in its
/// order, see [`crate::Input::own`]. `before` is called before it begins, see [`spawn_image_with`].
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
    use super::{FrontEnd, Start};
    use crate::kind::DeviceKind;
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
        fn what_decodes_encodes_to_the_same(bytes in prop::collection::vec(0_u8..8, 0..8)) {
            if let Some(start) = Start::decode(&bytes) {
                prop_assert_eq!(start.encode(), bytes);
            } else {
                let kind = bytes.first().and_then(|byte| DeviceKind::of_number(*byte));
                let front_end = bytes.get(1).is_some_and(|byte| (1..3).contains(byte));
                prop_assert!(kind.is_none() || !front_end);
            }
        }
    }
}
