//! What a socket device is, for whoever starts one or shows one to a guest.

use crate::facts::{MAX_CID, MIN_CID};
use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// Streams between the guest and sockets of the host.
pub const DESCRIPTION: Description = Description {
    name: "vsock",
    virtio: 19,
    // Communication, other.
    class: 0x07_80_00,
    // Neither SEQPACKET nor NO_IMPLIED_STREAM (virtio 1.2, 5.10.3): streams are all that there is.
    features: 0,
    // `struct virtio_vsock_config` (5.10.4): the guest's context id.
    config: 8,
    shown,
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};

fn shown(said: Vec<u8>, _: u16) -> Option<Vec<u8>> {
    let cid = said.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    // One that is the host's or nobody's is another device's configuration, or none.
    cid.filter(|cid| (MIN_CID..=MAX_CID).contains(cid)).map(|_| said)
}

#[cfg(test)]
mod tests {
    use super::DESCRIPTION;

    #[test]
    fn a_context_id_that_no_guest_has_is_not_shown_to_one() {
        for (cid, good) in [(0_u64, false), (2, false), (3, true), (0xffff_fffe, true)] {
            let said = cid.to_le_bytes().to_vec();
            assert_eq!((DESCRIPTION.shown)(said, 3).is_some(), good, "{cid}");
        }
        assert_eq!((DESCRIPTION.shown)(vec![3; 7], 3), None);
        assert_eq!((DESCRIPTION.shown)(u64::MAX.to_le_bytes().to_vec(), 3), None);
    }
}
