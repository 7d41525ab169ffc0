//! The number of each kind of message: its first byte.

pub(super) const PHASE: u8 = 1;
pub(super) const MARK: u8 = 2;
pub(super) const NOTE: u8 = 3;
pub(super) const DENIED: u8 = 4;
pub(super) const STOPPED: u8 = 5;
pub(super) const FAILED: u8 = 6;
pub(super) const LAUNCHED: u8 = 7;
pub(super) const VCPU: u8 = 8;
pub(super) const EXITS: u8 = 9;
pub(super) const PAGE_STATES: u8 = 10;
pub(super) const DEVICE_LOST: u8 = 11;
pub(super) const DEVICE_TAKEN_OVER: u8 = 12;

// To the vmm process: from 65 on, so that a message sent the wrong way is none.
pub(super) const POWER_BUTTON: u8 = 65;
pub(super) const LAUNCH: u8 = 66;
pub(super) const TAKE_OVER: u8 = 67;
pub(super) const KEEP: u8 = 68;
