//! The list of device kinds. What a kind is, its own crate says ([`Description`]); a new device is
//! a crate, a variant here, and an arm where its process begins (`run.rs`).

use casemate_device_backend::Description;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// A disk over a raw image.
    Block,
    /// A console over a stream of the host.
    Console,
    /// Random numbers of the host.
    Rng,
    /// Streams between the guest and sockets of the host.
    Vsock,
    /// A network interface over a TAP.
    Net,
}

impl DeviceKind {
    /// Every kind, for whoever lists or tests all of them.
    pub const ALL: [Self; 5] = [Self::Block, Self::Console, Self::Rng, Self::Vsock, Self::Net];

    /// What its crate says that it is.
    #[must_use]
    pub const fn description(self) -> &'static Description {
        match self {
            Self::Block => &casemate_device_block::DESCRIPTION,
            Self::Console => &casemate_device_console::DESCRIPTION,
            Self::Rng => &casemate_device_rng::DESCRIPTION,
            Self::Vsock => &casemate_device_vsock::DESCRIPTION,
            Self::Net => &casemate_device_net::DESCRIPTION,
        }
    }

    /// Whether whoever starts its process asks it whether it hangs, sets its limits and decides
    /// what comes when it is lost: a disk, with which another process can go on, and a network
    /// device, without which its guest can.
    #[must_use]
    pub const fn is_watched(self) -> bool {
        matches!(self, Self::Block | Self::Net)
    }

    /// The name that users know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.description().name
    }

    /// What stands for it in a packet between processes of ours.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Block => 1,
            Self::Vsock => 2,
            Self::Net => 6,
            Self::Rng => 4,
            Self::Console => 5,
        }
    }

    /// The kind that a packet names.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.number() == number)
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceKind;
    use std::collections::BTreeSet;

    /// Protects from a device that is copied and not renamed: what tells kinds apart is each
    /// kind's own. Cannot tell whether a number is the one that virtio gives it.
    #[test]
    fn no_two_kinds_have_a_name_or_a_number_in_common() {
        let count = DeviceKind::ALL.len();
        let of = |what: fn(DeviceKind) -> String| {
            DeviceKind::ALL.into_iter().map(what).collect::<BTreeSet<_>>().len()
        };
        assert_eq!(of(|kind| kind.name().into()), count);
        assert_eq!(of(|kind| kind.number().to_string()), count);
        assert_eq!(of(|kind| kind.description().virtio.to_string()), count);
        for kind in DeviceKind::ALL {
            let all = kind.description();
            for profile in [all.set_up, all.steady, all.foreign] {
                assert!(profile.name.starts_with(all.name), "{}", profile.name);
            }
            // A class has 24 bits.
            assert!(all.class < 1 << 24 && all.config <= 256, "{all:?}");
        }
    }
}
