//! What a console is, for whoever starts one or shows one to a guest.

use crate::profile::{FOREIGN, SET_UP, STEADY};
use casemate_device_backend::Description;

/// A console over a stream of the host.
pub const DESCRIPTION: Description = Description {
    name: "console",
    virtio: 3,
    // Communication, other.
    class: 0x07_80_00,
    // Neither SIZE, MULTIPORT nor EMERG_WRITE (virtio 1.2, 5.3.3), so no field of the
    // configuration is there (5.3.4).
    features: 0,
    config: 0,
    shown: |said, _| Some(said),
    set_up: &SET_UP,
    steady: &STEADY,
    foreign: &FOREIGN,
};
