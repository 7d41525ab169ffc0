//! What a block device is, for whoever starts one or shows one to a guest.

use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// A disk over a raw image.
pub const DESCRIPTION: Description = Description {
    name: "block",
    virtio: 2,
    // Mass storage, other: no driver but virtio's may think that it knows it.
    class: 0x01_80_00,
    // SIZE_MAX, SEG_MAX, GEOMETRY, RO, BLK_SIZE, FLUSH, TOPOLOGY, MQ, DISCARD, WRITE_ZEROES (virtio
    // 1.2, 5.2.3): not CONFIG_WCE, LIFETIME, SECURE_ERASE, ZONED, nor SCSI of before.
    features: 0x7676,
    // `struct virtio_blk_config` up to and with `unused1` after `write_zeroes_may_unmap` (virtio
    // 1.2, 5.2.4): what back ends without secure erase and zones have.
    config: 60,
    shown,
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};

fn shown(mut said: Vec<u8>, queues: u16) -> Option<Vec<u8>> {
    // `capacity`: another device's configuration, or none, has nothing there.
    let capacity = said.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    capacity.filter(|sectors| *sectors > 0)?;
    // `num_queues`: a driver that believes in more than there are finds none of them
    // (`vp_setup_vq`), and gives the disk up.
    let queues = queues.to_le_bytes();
    said.iter_mut().skip(34).zip(queues).for_each(|(to, from)| *to = from);
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::DESCRIPTION;

    /// Protects the guest from a back end of others: what it reads of its disk is what there is,
    /// and what nobody has looked through it is not offered. What of it is a lie, no one can tell.
    #[test]
    fn what_a_back_end_says_of_a_disk_is_shown_as_far_as_it_was_looked_through() {
        let disk = DESCRIPTION;
        let mut said = vec![0; disk.config];
        assert_eq!((disk.shown)(said.clone(), 2), None, "no disk has no sectors");
        assert_eq!((disk.shown)(vec![0; 7], 2), None);
        said[0] = 8;
        said[34..36].copy_from_slice(&16_u16.to_le_bytes());
        let shown = (disk.shown)(said.clone(), 2).unwrap();
        assert_eq!((&shown[..34], &shown[34..36]), (&said[..34], &[2, 0][..]));
        assert_eq!(shown[36..], said[36..]);
        // CONFIG_WCE writes the configuration; the others are longer than what is asked for, or
        // lead to the host's hardware.
        for (bit, offered) in [(5, true), (9, true), (12, true), (7, false), (11, false)] {
            assert_eq!(disk.features & 1 << bit != 0, offered, "{bit}");
        }
        assert_eq!(disk.features >> 15, 0, "LIFETIME, SECURE_ERASE, ZONED and what is to come");
    }
}
