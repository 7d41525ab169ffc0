//! A TAP of the host: opened, made or handed over, before anything is locked.
#![allow(unsafe_code, reason = "ioctl and fcntl take raw requests and numbers")]

use crate::header::{HEADER, feature};
use crate::profile::TUNSETOFFLOAD;
use casemate_foreign_text::value;
use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Requests of `linux/if_tun.h` and `linux/sockios.h`.
const TUNSETIFF: u32 = 0x4004_54ca;
const TUNGETIFF: u32 = 0x8004_54d2;
const TUNSETVNETHDRSZ: u32 = 0x4004_54d8;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFMTU: u32 = 0x8922;

/// Flags of an interface: a TAP, frames without a header of its own, with that of virtio.
const IFF_TAP: u16 = 0x0002;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_UP: u16 = 1;

/// Offloads (`TUN_F_*`): checksums, TCP over each IP, UDP over each IP since Linux 6.2.
const CSUM: u32 = 1;
const TSO4: u32 = 2;
const TSO6: u32 = 4;
const USO4: u32 = 0x20;
const USO6: u32 = 0x40;

/// Longest name of an interface, in bytes: `IFNAMSIZ` has a zero behind it.
const NAME: usize = 15;

/// Which TAP is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The one of this name, which is there.
    Existing(String),
    /// A new one of this name, which is gone when nobody has it open any more.
    New {
        /// Its name.
        name: String,
        /// Its MTU.
        mtu: u16,
    },
    /// One that whoever started this program has opened, by its number.
    Descriptor(RawFd),
}

/// A TAP that cannot be had. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// The host has no such devices.
    #[error("/dev/net/tun is not there: load the kernel's module `tun`")]
    NoTun,
    /// This user may not have one.
    #[error(
        "/dev/net/tun may not be opened by this user: let its group have it (`chgrp`, `chmod g+rw`)"
    )]
    Device,
    /// Its name.
    #[error("TAP {}: a name of an interface has 1 to {NAME} bytes without `/` and spaces", value(.0))]
    Name(String),
    /// It is not there.
    #[error(
        "TAP {name}: there is no such interface: `ip tuntap add dev {name} mode tap user USER` makes \
         it, or let this program make it (`create`)", name = value(.0)
    )]
    Missing(String),
    /// It is there.
    #[error("TAP {}: it exists already; leave `create` out, or use another name", value(.0))]
    Exists(String),
    /// Another program has it.
    #[error("TAP {}: another program has it open; end that one, or use another TAP", value(.0))]
    Busy(String),
    /// It is another user's.
    #[error(
        "TAP {name}: this user may not have it: `ip tuntap add dev {name} mode tap user USER` makes \
         one that USER may", name = value(.0)
    )]
    NotPermitted(String),
    /// Making one is a privilege.
    #[error(
        "TAP {name}: making it takes CAP_NET_ADMIN: have root make it (`ip tuntap add dev {name} mode \
         tap user USER`) and leave `create` out", name = value(.0)
    )]
    MayNotCreate(String),
    /// Something else has the name.
    #[error("TAP {}: that is another kind of interface, or a TAP with several queues", value(.0))]
    OtherKind(String),
    /// What was handed over is none.
    #[error("descriptor {fd}: {what}")]
    Descriptor {
        /// Its number.
        fd: RawFd,
        /// What is wrong.
        what: &'static str,
    },
    /// The kernel refuses.
    #[error("TAP {}: {what}: {source}", value(.name))]
    System {
        /// Its name.
        name: String,
        /// What was asked.
        what: &'static str,
        /// Its reason.
        #[source]
        source: std::io::Error,
    },
}

/// A TAP, open; reading it does not block.
#[derive(Debug)]
pub struct Tap {
    file: OwnedFd,
    name: String,
    offered: u64,
}

/// `struct ifreq`: a name, and a union of 24 bytes, whose first are a number.
#[repr(C)]
#[derive(Clone, Copy)]
struct Request {
    name: [u8; 16],
    value: [u8; 24],
}

impl Request {
    fn of(name: &str) -> Result<Self, TapError> {
        let bytes = name.as_bytes();
        let good = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
        if bytes.is_empty() || bytes.len() > NAME || !bytes.iter().all(good) {
            return Err(TapError::Name(name.to_owned()));
        }
        let mut request = Self { name: [0; 16], value: [0; 24] };
        request.name.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Ok(request)
    }

    const fn with(mut self, number: i32) -> Self {
        let [a, b, c, d] = number.to_ne_bytes();
        let [v0, v1, v2, v3, ..] = &mut self.value;
        (*v0, *v1, *v2, *v3) = (a, b, c, d);
        self
    }

    const fn flags(&self) -> u16 {
        let [a, b, ..] = self.value;
        u16::from_ne_bytes([a, b])
    }
}

/// Asks something about an interface.
fn ask(fd: &impl AsFd, what: u32, request: &mut Request) -> Result<(), Errno> {
    // SAFETY: each of these requests reads and writes a `struct ifreq`, of whose size and layout
    // `request` is, and keeps no pointer to it.
    let done = unsafe {
        libc::ioctl(fd.as_fd().as_raw_fd(), what as libc::Ioctl, std::ptr::from_mut(request))
    };
    if done < 0 { Err(last()) } else { Ok(()) }
}

/// The errno of the call before.
fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// Asks for headers of virtio's length.
fn set_header(fd: &impl AsFd) -> Result<(), Errno> {
    let size = i32::try_from(HEADER).unwrap_or(0);
    // SAFETY: the request reads an `int`.
    let done = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            TUNSETVNETHDRSZ as libc::Ioctl,
            std::ptr::from_ref(&size),
        )
    };
    if done < 0 { Err(last()) } else { Ok(()) }
}

/// Tells the kernel which frames a driver with these features takes.
pub(crate) fn set_offload(fd: &impl AsFd, features: u64) -> Result<(), Errno> {
    let has = |mask| features & mask == mask;
    let mut wanted = 0;
    // Large packets have no complete checksum: without the one none of the others (5.1.3.1).
    if has(feature::GUEST_CSUM) {
        let uso = if has(feature::GUEST_USO4 | feature::GUEST_USO6) { USO4 | USO6 } else { 0 };
        let tso4 = if has(feature::GUEST_TSO4) { TSO4 } else { 0 };
        let tso6 = if has(feature::GUEST_TSO6) { TSO6 } else { 0 };
        wanted = CSUM | tso4 | tso6 | uso;
    }
    offload(fd, wanted)
}

fn offload(fd: &impl AsFd, wanted: u32) -> Result<(), Errno> {
    // SAFETY: the request takes its bits in the place of a pointer, and reads no memory.
    let done = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            TUNSETOFFLOAD as libc::Ioctl,
            libc::c_ulong::from(wanted),
        )
    };
    if done < 0 { Err(last()) } else { Ok(()) }
}

impl Tap {
    /// The TAP that is wanted.
    ///
    /// # Errors
    /// [`TapError`]; one that was made is gone then.
    pub fn open(wanted: &Wanted) -> Result<Self, TapError> {
        match wanted {
            Wanted::Existing(name) => Self::attached(name, false),
            Wanted::New { name, mtu } => {
                let tap = Self::attached(name, true)?;
                tap.bring_up(*mtu)?;
                Ok(tap)
            }
            Wanted::Descriptor(fd) => Self::handed_over(*fd),
        }
    }

    /// Its descriptor.
    #[must_use]
    pub const fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it can do, as features of virtio.
    #[must_use]
    pub const fn offered(&self) -> u64 {
        self.offered
    }

    fn attached(name: &str, new: bool) -> Result<Self, TapError> {
        let mut request = Request::of(name)?;
        let there = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
            .is_ok_and(|socket| name_to_index(socket, name).is_ok());
        // TUNSETIFF makes what is not there, for who may.
        match (there, new) {
            (false, false) => return Err(TapError::Missing(name.to_owned())),
            (true, true) => return Err(TapError::Exists(name.to_owned())),
            _ => {}
        }
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = open("/dev/net/tun", flags, Mode::empty());
        let file = file.map_err(|errno| match errno {
            Errno::NOENT | Errno::NODEV | Errno::NXIO => TapError::NoTun,
            Errno::ACCESS | Errno::PERM => TapError::Device,
            errno => system(name, "/dev/net/tun", errno),
        })?;
        request = request.with((IFF_TAP | IFF_NO_PI | IFF_VNET_HDR).into());
        ask(&file, TUNSETIFF, &mut request).map_err(|errno| match errno {
            Errno::BUSY => TapError::Busy(name.to_owned()),
            Errno::PERM if new => TapError::MayNotCreate(name.to_owned()),
            Errno::PERM => TapError::NotPermitted(name.to_owned()),
            Errno::INVAL => TapError::OtherKind(name.to_owned()),
            errno => system(name, "TUNSETIFF", errno),
        })?;
        Self::ready(file, name)
    }

    /// Takes over a TAP that was handed over by its number, which stays open.
    fn handed_over(fd: RawFd) -> Result<Self, TapError> {
        let wrong = |what| TapError::Descriptor { fd, what };
        // SAFETY: the request takes two numbers; what is no descriptor is an error.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
        if copy < 0 {
            return Err(wrong("nobody has handed it over to this program"));
        }
        // SAFETY: the kernel has just made it, for this call alone.
        let file = unsafe { OwnedFd::from_raw_fd(copy) };
        let mut request = Request { name: [0; 16], value: [0; 24] };
        ask(&file, TUNGETIFF, &mut request).map_err(|_| wrong("it is no TAP"))?;
        let needed = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        if request.flags() & needed != needed {
            return Err(wrong("it was not made with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR"));
        }
        let name = request.name.split(|byte| *byte == 0).next().unwrap_or(&[]);
        let name = String::from_utf8_lossy(name).into_owned();
        let flags = fcntl_getfl(&file).map_err(|errno| system(&name, "its flags", errno))?;
        fcntl_setfl(&file, flags | OFlags::NONBLOCK)
            .map_err(|errno| system(&name, "its flags", errno))?;
        Self::ready(file, &name)
    }

    fn ready(file: OwnedFd, name: &str) -> Result<Self, TapError> {
        set_header(&file).map_err(|errno| system(name, "TUNSETVNETHDRSZ", errno))?;
        let tries = |bits| offload(&file, bits).is_ok();
        let sums = feature::CSUM
            | feature::GUEST_CSUM
            | feature::GUEST_TSO4
            | feature::GUEST_TSO6
            | feature::HOST_TSO4
            | feature::HOST_TSO6;
        let uso = feature::GUEST_USO4 | feature::GUEST_USO6 | feature::HOST_USO;
        let all = CSUM | TSO4 | TSO6;
        let offered = match (tries(all | USO4 | USO6), tries(all)) {
            (true, _) => sums | uso,
            (false, true) => sums,
            (false, false) => 0,
        };
        // Until a driver says what it takes.
        offload(&file, 0).map_err(|errno| system(name, "TUNSETOFFLOAD", errno))?;
        Ok(Self { file, name: name.to_owned(), offered })
    }

    /// Sets the MTU of an interface that was just made, and switches it on.
    fn bring_up(&self, mtu: u16) -> Result<(), TapError> {
        let failed = |what| move |errno| system(&self.name, what, errno);
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None);
        let socket = socket.map_err(failed("a socket"))?;
        let mut request = Request::of(&self.name)?.with(mtu.into());
        ask(&socket, SIOCSIFMTU, &mut request).map_err(failed("its MTU"))?;
        let mut request = Request::of(&self.name)?;
        ask(&socket, SIOCGIFFLAGS, &mut request).map_err(failed("its flags"))?;
        let flags = request.flags() | IFF_UP;
        let mut request = Request::of(&self.name)?.with(flags.into());
        ask(&socket, SIOCSIFFLAGS, &mut request).map_err(failed("switching it on"))
    }
}

fn system(name: &str, what: &'static str, errno: Errno) -> TapError {
    TapError::System { name: name.to_owned(), what, source: errno.into() }
}
