//! What the device is, for whoever starts one or shows one to a guest.

use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// Random numbers of the host's kernel.
pub const DESCRIPTION: Description = Description {
    name: "rng",
    virtio: 4,
    // Unclassified: PCI has no class for it, and no driver but virtio's may think that it knows it.
    class: 0xff_00_00,
    // Neither features (virtio 1.2, 5.4.3) nor a configuration (5.4.4).
    features: 0,
    config: 0,
    shown: |said, _| Some(said),
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};
