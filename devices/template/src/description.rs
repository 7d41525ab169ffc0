//! What this device is, for whoever starts one or shows one to a guest.

use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// The template, which no guest has a driver for.
pub const DESCRIPTION: Description = Description {
    name: "template",
    // No device: virtio reserves the number (virtio 1.2, section 5).
    virtio: 0,
    // Unclassified, so that no driver but virtio's may think that it knows it.
    class: 0xff_00_00,
    features: 0,
    config: 0,
    shown: |said, _| Some(said),
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};
