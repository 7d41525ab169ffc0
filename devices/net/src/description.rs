//! What a network device is, for whoever starts one or shows one to a guest.

use crate::facts::{CONFIG, MAX_MTU, MIN_MTU};
use crate::header::feature;
use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// A network interface over a TAP.
pub const DESCRIPTION: Description = Description {
    name: "net",
    virtio: 1,
    // Network controller, Ethernet.
    class: 0x02_00_00,
    features: feature::ALL,
    // `struct virtio_net_config` (5.1.4): address, status, pairs of queues, MTU.
    config: CONFIG,
    shown,
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};

/// A configuration whose address is one of a single card, and whose MTU is one that there is.
fn shown(said: Vec<u8>, _: u16) -> Option<Vec<u8>> {
    let &[first, .., low, high] = said.first_chunk::<CONFIG>()?;
    let mtu = u16::from_le_bytes([low, high]);
    let good = first & 1 == 0 && (MIN_MTU..=MAX_MTU).contains(&mtu) && said.len() == CONFIG;
    good.then_some(said)
}

#[cfg(test)]
mod tests {
    use super::DESCRIPTION;
    use crate::Facts;
    use casemate_device_backend::Limits;
    use casemate_policy::NetworkRules;

    #[test]
    fn a_configuration_that_no_card_has_is_not_shown_to_a_guest() {
        let limits = Limits::default();
        let facts = |mac, mtu| Facts { mac, mtu, offered: 0, limits, rules: NetworkRules::any() };
        let good = facts([2, 0, 0, 0, 0, 1], 1500).config().to_vec();
        assert_eq!((DESCRIPTION.shown)(good.clone(), 2), Some(good.clone()));
        for (mac, mtu) in [([3, 0, 0, 0, 0, 1], 1500), ([2, 0, 0, 0, 0, 1], 67)] {
            assert_eq!((DESCRIPTION.shown)(facts(mac, mtu).config().to_vec(), 2), None);
        }
        assert_eq!((DESCRIPTION.shown)(good[..11].to_vec(), 2), None);
    }
}
