//! What a device's process is told of itself.

use crate::header::feature;
use casemate_device_backend::Limits;
use casemate_policy::NetworkRules;

/// Least MTU that a guest may be told (virtio 1.2, 5.1.4.1).
pub const MIN_MTU: u16 = 1280;
/// Greatest MTU: with it an Ethernet frame has 65,535 bytes at most, as the kernel's own TAP.
pub const MAX_MTU: u16 = 65_521;
/// Bytes of the configuration structure as far as an MTU needs it.
pub(crate) const CONFIG: usize = 12;
/// `VIRTIO_NET_S_LINK_UP`, which is not looked at: the feature of a status is not offered.
const LINK_UP: [u8; 2] = [1, 0];

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The guest's address on the link.
    pub mac: [u8; 6],
    /// Largest packet that the guest is told to send.
    pub mtu: u16,
    /// Offloads that the TAP has, as features of virtio.
    pub offered: u64,
    /// How much of the device its guest gets, until somebody changes that: bytes of frames and
    /// frames, in both directions together.
    pub limits: Limits,
    /// What the guest may reach.
    pub rules: NetworkRules,
}

impl Facts {
    /// Features that the device offers.
    #[must_use]
    pub const fn features(&self) -> u64 {
        feature::ALWAYS | (self.offered & feature::OFFLOADS)
    }

    /// The configuration structure.
    #[must_use]
    pub const fn config(&self) -> [u8; CONFIG] {
        config(self.mac, self.mtu)
    }

    /// The bytes for the process.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.mac.to_vec();
        bytes.extend(self.mtu.to_le_bytes());
        bytes.extend(self.offered.to_le_bytes());
        bytes.extend(self.limits.encode());
        bytes.extend(self.rules.to_bytes());
        bytes
    }

    /// The device of these bytes; None when they are of none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mac, rest) = bytes.split_first_chunk()?;
        let (mtu, rest) = rest.split_first_chunk()?;
        let (offered, rest) = rest.split_first_chunk()?;
        let (limits, rules) = rest.split_at_checked(Limits::BYTES)?;
        let (mtu, offered) = (u16::from_le_bytes(*mtu), u64::from_le_bytes(*offered));
        let good = (MIN_MTU..=MAX_MTU).contains(&mtu)
            && is_of_a_card(*mac)
            && offered & !feature::OFFLOADS == 0;
        let (limits, rules) = (Limits::decode(limits)?, NetworkRules::from_bytes(rules)?);
        good.then_some(Self { mac: *mac, mtu, offered, limits, rules })
    }
}

/// The configuration of a device with this address and this MTU, whose link is up.
#[must_use]
pub const fn config(mac: [u8; 6], mtu: u16) -> [u8; CONFIG] {
    let [a, b, c, d, e, f] = mac;
    let [up, none] = LINK_UP;
    let [low, high] = mtu.to_le_bytes();
    // One pair of queues.
    [a, b, c, d, e, f, up, none, 1, 0, low, high]
}

/// Whether it is one card's, not a group's, and any at all.
const fn is_of_a_card(mac: [u8; 6]) -> bool {
    let [first, ..] = mac;
    first & 1 == 0 && !matches!(mac, [0, 0, 0, 0, 0, 0])
}

/// The address of a text such as `52:54:00:12:34:56`; None where it is none of a single card.
#[must_use]
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let (mut mac, mut parts) = ([0; 6], text.split(':'));
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2)?;
        // `from_str_radix` alone would take a sign.
        let good = part.bytes().all(|digit| digit.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16).ok().filter(|_| good)?;
    }
    (parts.next().is_none() && is_of_a_card(mac)).then_some(mac)
}

/// An address for a card whose user gave none, of random bytes: locally administered, so that it is
/// no manufacturer's.
#[must_use]
pub const fn random_mac(random: [u8; 5]) -> [u8; 6] {
    let [b, c, d, e, f] = random;
    [0x02, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::{Facts, feature, parse_mac, random_mac};
    use casemate_device_backend::{Limits, Rate};
    use casemate_policy::{NetworkRules, Policy};

    #[test]
    fn facts_survive_the_trip() {
        for rules in [NetworkRules::any(), Policy::builtin_strict().network_rules()] {
            let mac = random_mac([1, 2, 3, 4, 5]);
            let limits = Limits { bytes: Rate::new(7, 9), operations: None };
            let facts = Facts { mac, mtu: 9000, offered: feature::OFFLOADS, limits, rules };
            let bytes = facts.encode();
            assert_eq!(Facts::decode(&bytes), Some(facts));
            assert!((0..65).all(|len| Facts::decode(&bytes[..len]).is_none()));
        }
        assert_eq!(Facts::decode(&[&[1; 6][..], &[0; 72]].concat()), None);
    }

    #[test]
    fn an_address_is_six_pairs_of_digits_of_one_card() {
        assert_eq!(parse_mac("52:54:00:aB:00:01"), Some([0x52, 0x54, 0, 0xab, 0, 1]));
        for wrong in [
            "",
            "52:54:00:ab:00",
            "52:54:00:ab:00:01:02",
            "53:54:00:ab:00:01",
            "52-54-00-ab-00-01",
            "00:00:00:00:00:00",
            "ff:ff:ff:ff:ff:ff",
            "52:54:00:ab:00:+1",
            "52:54:0:ab:00:01",
        ] {
            assert_eq!(parse_mac(wrong), None, "{wrong}");
        }
    }
}
