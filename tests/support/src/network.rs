//! A network of a test's own, so that what it makes is nobody else's.
#![allow(unsafe_code, reason = "unshare(2) takes raw flags")]

use std::process::Command;

/// Puts this process, which must have one thread, into a network namespace of its own. False where
/// it may not, or where there are no TAPs.
#[must_use]
pub fn own_network() -> bool {
    // SAFETY: the call touches no memory; of this process it changes which network it sees.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    done == 0 && ip(&["link", "set", "lo", "up"]) && std::path::Path::new("/dev/net/tun").exists()
}

/// Runs `ip`; whether it succeeded.
#[must_use]
pub fn ip(args: &[&str]) -> bool {
    Command::new("ip").args(args).status().is_ok_and(|status| status.success())
}
