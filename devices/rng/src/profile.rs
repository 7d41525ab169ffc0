//! The lock of the device's process, as data: the frame's rules and the call that random bytes come
//! from.

use casemate_device_backend::profile as frame;
use casemate_device_backend::profile::{ALWAYS, OURS};
use casemate_sandbox::{Layers, Limits, Pin, Profile, Rule, sys};

/// The layers of the device's process: all of them, and no file grows.
#[must_use]
pub fn layers(name: &str) -> Layers {
    Layers::new(name).limits(Limits { file_size: Some(0), ..Limits::NO_CORE })
}

/// What it does beyond the frame, in every phase. Blocks of one size, and no flag: neither may it
/// take bytes of a generator that has no seed yet (`GRND_INSECURE`).
const RANDOM: &[Rule] =
    &[Rule::new(sys("getrandom"), &[Pin::Long(1, 256), Pin::Int(2, 0)], "a block of random bytes")];
const _: () = assert!(crate::backend::BLOCK == 256, "the block that the filter lets through");

/// From the first enabled ring on: 8 calls.
pub const STEADY: Profile = Profile {
    name: "rng",
    rules: &Rule::joined::<{ ALWAYS.len() + RANDOM.len() + OURS.len() }>(&[ALWAYS, RANDOM, OURS]),
};

/// The same for another VMM.
pub const FOREIGN: Profile = Profile {
    name: "rng, foreign front end",
    rules: &Rule::joined::<{ ALWAYS.len() + RANDOM.len() + frame::FOREIGN.len() }>(&[
        ALWAYS,
        RANDOM,
        frame::FOREIGN,
    ]),
};

/// Either, until the front end has sent what the lock needs.
pub const SET_UP: Profile = Profile {
    name: "rng, set-up",
    rules: &Rule::joined::<{ ALWAYS.len() + RANDOM.len() + frame::SET_UP.len() }>(&[
        ALWAYS,
        RANDOM,
        frame::SET_UP,
    ]),
};
