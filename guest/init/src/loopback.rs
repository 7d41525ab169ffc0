//! The loopback interface: programs talk to themselves over it, and the kernel leaves it down.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Its index: in each network namespace it is made first (`loopback_net_init`).
const LOOPBACK: i32 = 1;
/// include/uapi/linux/rtnetlink.h and if.h.
const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const NLMSG_ERROR: u16 = 2;
const IFF_UP: u32 = 1;
/// A header of a message, and `struct ifinfomsg`, 16 bytes each.
const SIZE: usize = 32;

/// Brings it up; with it come 127.0.0.1 and ::1 (`inetdev_event`, net/ipv4/devinet.c).
///
/// # Errors
/// The kernel's word. A kernel without networks has none, and that is no error.
pub fn up() -> rustix::io::Result<()> {
    let flags = SocketFlags::CLOEXEC;
    // No protocol by number is protocol 0, NETLINK_ROUTE.
    let socket = match socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None) {
        Err(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => return Ok(()),
        other => other?,
    };
    send(&socket, &request(), SendFlags::empty())?;
    // The kernel answers within the call that sends (`netlink_unicast_kernel`), so nothing is
    // waited for.
    let mut answer = [0; 128];
    let (len, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    verdict(answer.get(..len).unwrap_or_default())
}

/// `struct nlmsghdr`: length, type, flags, sequence, port; `struct ifinfomsg`: family and padding,
/// type, index, flags, and which of these change.
fn request() -> [u8; SIZE] {
    let size = u32::try_from(SIZE).unwrap_or(u32::MAX).to_ne_bytes();
    let [[t0, t1], [f0, f1]] = [RTM_NEWLINK.to_ne_bytes(), NLM_F_REQUEST_ACK.to_ne_bytes()];
    let zero = [0; 4];
    let words = [
        size,
        [t0, t1, f0, f1],
        zero,
        zero,
        zero,
        LOOPBACK.to_ne_bytes(),
        IFF_UP.to_ne_bytes(),
        IFF_UP.to_ne_bytes(),
    ];
    let mut bytes = [0; SIZE];
    bytes.iter_mut().zip(words.into_iter().flatten()).for_each(|(to, from)| *to = from);
    bytes
}

/// An acknowledgement is an error with the number zero behind its header.
fn verdict(answer: &[u8]) -> rustix::io::Result<()> {
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let error = answer.get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(error.wrapping_neg())),
        _ => Err(Errno::PROTO),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_acknowledgement_is_good() {
        let answer = |kind: u16, error: i32| {
            let mut bytes = [0; 36];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&error.to_ne_bytes());
            bytes
        };
        assert_eq!(verdict(&answer(NLMSG_ERROR, 0)), Ok(()));
        assert_eq!(verdict(&answer(NLMSG_ERROR, -1)), Err(Errno::PERM));
        assert_eq!(verdict(&answer(RTM_NEWLINK, 0)), Err(Errno::PROTO));
        assert_eq!(verdict(&answer(NLMSG_ERROR, 0)[..18]), Err(Errno::PROTO));
        assert_eq!(verdict(&[]), Err(Errno::PROTO));
    }
}
