//! What a block device is, for whoever starts one or shows one to a guest.

use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// A disk over a raw image.
pub const DESCRIPTION: Description = Description {
    name: "block",
    virtio: 2,
    // Mass storage, other: no driver but virtio's may think that it knows it.
    class: 0x01_80_00,
    // `struct virtio_blk_config` up to and with `unused1` after `write_zeroes_may_unmap` (virtio
    // 1.2, 5.2.4): what back ends without secure erase and zones have.
    config: 60,
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};
