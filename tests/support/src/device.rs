//! A device's process as its supervisor has it: its sockets, what it says, what is in force for it;
//! and how an attacker who took it over says how it went.

use casemate_device_process::{FromDevice, MESSAGE_SIZE};
use casemate_sandbox::{Child, InForce, Layer};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use std::os::fd::OwnedFd;

/// Exit status of an attacker who was refused.
pub const REFUSED: i32 = 42;
/// Exit status of an attacker who was not.
pub const SUCCEEDED: i32 = 43;

/// Ends an attacker's process with what became of its attempt.
pub fn end_of_attack(has_succeeded: bool) -> ! {
    casemate_sandbox::exit(if has_succeeded { SUCCEEDED } else { REFUSED })
}

pub fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// The next thing that a process says.
pub fn said(control: &OwnedFd) -> Option<FromDevice> {
    let mut packet = [0; MESSAGE_SIZE + 1];
    let (len, _) = recv(control, &mut packet[..], RecvFlags::empty()).unwrap();
    FromDevice::decode(&packet[..len])
}

/// Waits until a process is confined: by every layer that is not for some only, and the memory
/// fence where it is `fenced`.
pub fn assert_confined(child: &mut Child, fenced: bool) {
    let report = child.confined().unwrap();
    for layer in Layer::ALL {
        let expected = !layer.only_where_asked() || (fenced && layer == Layer::MemoryFence);
        assert_eq!(report.is_applied(layer), expected, "{layer}\n{report}");
    }
}

/// What the kernel tells of every locked process: so many filters in all its threads, nobody's
/// user, no capability.
pub fn assert_locked(told: &InForce, filters: u32) {
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, filters, 65534), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
}
