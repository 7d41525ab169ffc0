//! What a device process is for, and that it is to end.

use super::Loss;
use crate::config::OnDeviceDeath;
use std::time::Instant;

/// What a device process is for.
#[derive(Debug, Clone)]
pub struct Post {
    /// Its device's number, in the order of the configuration.
    pub device: u8,
    /// Its device's name.
    pub name: String,
    /// What becomes of the VM when the device has no process any more.
    pub on_death: OnDeviceDeath,
}

/// A process that is to end, and is waited for.
#[derive(Debug)]
pub(super) struct Condemned {
    pub(super) why: Loss,
    /// Whether it was killed; before, it is given a moment to end of itself, since how it ends says
    /// more.
    pub(super) killed: bool,
    /// When it must have ended.
    pub(super) until: Instant,
}
