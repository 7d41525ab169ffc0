//! A connection to the host by the socket device (vsock(7)).
//!
//! UNSAFETY: `rustix` has no address of this family.
#![allow(unsafe_code, reason = "connect to an address that rustix has no type for")]

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// The host (`VMADDR_CID_HOST` of linux/vm_sockets.h).
const HOST: u32 = 2;
/// How long one call may wait for the other side. To connect the kernel waits two seconds.
const CALL: Duration = Duration::from_secs(30);

/// `struct sockaddr_vm` of linux/vm_sockets.h.
#[repr(C)]
struct Address {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

const _: () = assert!(size_of::<Address>() == 16, "as the kernel has it");

/// Connects to a port of the host. Reading and writing fail when nothing moves for a while.
///
/// # Errors
/// Those of socket(2) and connect(2): nobody listens there, or the guest has no socket device.
pub fn connect(port: u32) -> Result<File> {
    let family = AddressFamily::VSOCK;
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(CALL))?;
    set_socket_timeout(&socket, Timeout::Send, Some(CALL))?;
    let address =
        Address { family: family.as_raw(), reserved: 0, port, cid: HOST, flags: 0, zero: [0; 3] };
    let size = u32::try_from(size_of::<Address>()).unwrap_or(0);
    // SAFETY: connect reads `size` bytes at the pointer, which are those of `address`, alive until
    // it returns; it keeps no pointer. The descriptor is open, being owned by `socket`.
    let connected = unsafe { connect_raw(socket.as_raw_fd(), &raw const address, size) };
    if connected == 0 { Ok(File::from(socket)) } else { Err(Error::last_os_error()) }
}

unsafe extern "C" {
    #[link_name = "connect"]
    fn connect_raw(socket: i32, address: *const Address, size: u32) -> i32;
}
