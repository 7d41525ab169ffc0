//! The lock of the device's process, as data. This one touches nothing but its queues, so its
//! profiles are the frame's rules and none of its own; a device that does more joins a list of its
//! own to each (`devices/block/src/profile.rs`).

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, OURS};
use casemate_sandbox::{Profile, Rule};

/// From the first enabled ring on.
pub const STEADY: Profile = Profile {
    name: "template",
    rules: &Rule::joined::<{ ALWAYS.len() + OURS.len() }>(&[ALWAYS, OURS]),
};

/// The same for another VMM.
pub const FOREIGN: Profile = Profile {
    name: "template, foreign front end",
    rules: &Rule::joined::<{ ALWAYS.len() + frame::FOREIGN.len() }>(&[ALWAYS, frame::FOREIGN]),
};

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "template, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + frame::SET_UP.len() }>(&[ALWAYS, frame::SET_UP]),
};
