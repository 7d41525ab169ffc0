//! What a kind of device is, said once, in its crate, and read by whoever needs it: the vmm process
//! shows it to the guest, the device's own process is locked by it, commands name it.

use casemate_sandbox::Profile;

/// A kind of device. Each device's crate has one of these, `DESCRIPTION`; the list of them is
/// `DeviceKind` of `casemate-device-process`.
#[derive(Debug)]
pub struct Description {
    /// The name that users, profiles and policies know it by.
    pub name: &'static str,
    /// Its number in virtio 1.2, section 5.
    pub virtio: u16,
    /// PCI class, subclass and interface, as the upper 24 bits of that register have them.
    pub class: u32,
    /// Features of the kind that a back end may offer a guest. The rest has no place here: what
    /// needs a configuration that can be written or that is longer than what is asked for, and
    /// commands that pass through to hardware.
    pub features: u64,
    /// Bytes of its configuration structure that a front end asks for.
    pub config: usize,
    /// The configuration as a guest with so many queues is shown it, of what a back end said; None
    /// when no device of this kind says so.
    pub shown: fn(Vec<u8>, u16) -> Option<Vec<u8>>,
    /// What it may do until its front end has sent what it needs.
    pub set_up: &'static Profile,
    /// What it may do from then on, in a VM of our own.
    pub steady: &'static Profile,
    /// The same for another VMM.
    pub foreign: &'static Profile,
}
