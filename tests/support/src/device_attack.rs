//! What an attacker who took over a device process would try with what a device has: the guest's
//! memory and its fence, its image, its sockets. [`crate::attack`] has what anybody would try.
//! Each attempt tells what the kernel answered, where the process is still there to tell it.

use std::io;
use std::os::fd::RawFd;

/// What the process holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    /// The first of the mappings of guest memory, and its size.
    pub memory: (usize, usize),
    /// The fence's descriptor.
    pub fence: RawFd,
    /// The image's.
    pub image: RawFd,
    /// Size of the image, bytes.
    pub image_size: u64,
    /// The front end's socket.
    pub socket: RawFd,
}

/// An attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceAttack {
    /// Reads every page of guest memory.
    LoadEveryPage,
    /// Writes every page of guest memory.
    StoreEveryPage,
    /// Has the kernel read the image into every page of guest memory.
    ReadIntoEveryPage,
    /// Has the kernel write every page of guest memory to the image.
    WriteFromEveryPage,
    /// Has the kernel make the pages, by advice.
    PopulateMemory,
    /// Gives pages of the memory file back through the mapping.
    RemovePages,
    /// Closes the fence.
    CloseFence,
    /// Closes everything from the fence on.
    CloseRangeFence,
    /// Takes the memory out of the fence.
    UnregisterFence,
    /// Puts the memory behind the fence anew, for another kind of fault.
    RegisterOtherwise,
    /// Replaces the fence by another descriptor.
    ReplaceFence,
    /// Maps the memory a second time, where the fence is not.
    MoveMemory,
    /// Unmaps the memory.
    UnmapMemory,
    /// Shortens every file that it holds.
    Truncate,
    /// Gives pages of every file back.
    Punch,
    /// Lengthens the image by a call for it.
    GrowImage,
    /// Writes behind the end of the image.
    WriteBehindImage,
    /// Maps the image.
    MapImage,
    /// Asks each descriptor whether it is one of KVM's.
    ReachKvm,
    /// Makes two sockets, to send itself descriptors.
    MakeSockets,
    /// Takes a descriptor that its peer sends: one that the test has sent before.
    TakeDescriptor,
    /// Copies a descriptor.
    CopyDescriptor,
    /// Waits for the end of another process, or has it report to this one.
    Wait,
    /// Raises its own limit on file sizes.
    RaiseLimit,
    /// Adds a filter that lets more through.
    AddFilter,
}

/// What becomes of an attempt in a locked process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The filter ends the process.
    Filter,
    /// A page that is not there ends the process.
    Fence,
    /// The kernel refuses, and the process goes on.
    Refused,
    /// The call is what the device does all the time: it is answered page by page, with an error
    /// for those that are not there.
    AnsweredInPart,
}

impl DeviceAttack {
    /// Every attempt, and what becomes of it in a device of a confidential guest.
    pub const ALL: [(Self, Fate); 25] = [
        (Self::LoadEveryPage, Fate::Fence),
        (Self::StoreEveryPage, Fate::Fence),
        (Self::ReadIntoEveryPage, Fate::AnsweredInPart),
        (Self::WriteFromEveryPage, Fate::AnsweredInPart),
        (Self::PopulateMemory, Fate::Filter),
        (Self::RemovePages, Fate::Filter),
        (Self::CloseFence, Fate::Filter),
        (Self::CloseRangeFence, Fate::Filter),
        (Self::UnregisterFence, Fate::Filter),
        (Self::RegisterOtherwise, Fate::Filter),
        (Self::ReplaceFence, Fate::Filter),
        (Self::MoveMemory, Fate::Filter),
        (Self::UnmapMemory, Fate::Filter),
        (Self::Truncate, Fate::Filter),
        (Self::Punch, Fate::Filter),
        (Self::GrowImage, Fate::Filter),
        (Self::WriteBehindImage, Fate::Refused),
        (Self::MapImage, Fate::Filter),
        (Self::ReachKvm, Fate::Filter),
        (Self::MakeSockets, Fate::Filter),
        (Self::TakeDescriptor, Fate::Refused),
        (Self::CopyDescriptor, Fate::Filter),
        (Self::Wait, Fate::Filter),
        (Self::RaiseLimit, Fate::Filter),
        (Self::AddFilter, Fate::Filter),
    ];

    /// Makes the attempt.
    ///
    /// # Errors
    /// The kernel's refusal. An attempt on every page fails when the kernel refused one of them.
    pub fn attempt(self, held: Held) -> io::Result<()> {
        let (image, end) = (held.image.into(), held.image_size.cast_signed());
        match self {
            Self::LoadEveryPage
            | Self::StoreEveryPage
            | Self::ReadIntoEveryPage
            | Self::WriteFromEveryPage
            | Self::PopulateMemory
            | Self::RemovePages
            | Self::CloseFence
            | Self::CloseRangeFence
            | Self::UnregisterFence
            | Self::RegisterOtherwise
            | Self::ReplaceFence
            | Self::MoveMemory
            | Self::UnmapMemory => self.on_memory(held),
            Self::Truncate => every_descriptor(|fd| call(libc::SYS_ftruncate, [fd, 0, 0, 0, 0, 0])),
            Self::Punch => {
                // A descriptor of the device's own that is no image's: the filter must tell them
                // apart.
                every_descriptor(|fd| {
                    if fd == image {
                        return Err(io::ErrorKind::Other.into());
                    }
                    call(libc::SYS_fallocate, [fd, 3, 0, 4096, 0, 0])
                })
            }
            Self::GrowImage => call(libc::SYS_fallocate, [image, 0, 0, end + 4096, 0, 0]),
            Self::WriteBehindImage => {
                let bytes = [1_u8; 512];
                let vector =
                    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: 512 };
                call(libc::SYS_pwritev, [image, address(&vector), 1, end, 0, 0])
            }
            Self::MapImage => {
                let shared = libc::MAP_SHARED.into();
                call(libc::SYS_mmap, [0, 4096, libc::PROT_READ.into(), shared, image, 0])
            }
            Self::ReachKvm => {
                // KVM_GET_API_VERSION, of /dev/kvm; KVM_CHECK_EXTENSION, of a VM.
                every_descriptor(|fd| call(libc::SYS_ioctl, [fd, 0xae00, 0, 0, 0, 0]))
            }
            Self::MakeSockets => {
                let mut pair = [0_i32; 2];
                let (family, kind) = (libc::AF_UNIX.into(), libc::SOCK_STREAM.into());
                let pair = (&raw mut pair).addr();
                call(libc::SYS_socketpair, [family, kind, 0, long(pair), 0, 0])
            }
            Self::TakeDescriptor => take_descriptor(held.socket),
            Self::CopyDescriptor => {
                call(libc::SYS_fcntl, [image, libc::F_DUPFD.into(), 0, 0, 0, 0])
            }
            Self::Wait => call(libc::SYS_wait4, [-1, 0, libc::WNOHANG.into(), 0, 0, 0]),
            Self::RaiseLimit => {
                let limit = [u64::MAX; 2];
                let fsize = i64::from(libc::RLIMIT_FSIZE);
                call(libc::SYS_prlimit64, [0, fsize, address(&limit), 0, 0, 0])
            }
            Self::AddFilter => {
                // BPF_RET | BPF_K, SECCOMP_RET_ALLOW: filters only ever add up, but who may add one
                // could have the kernel notify it of calls.
                let allow = [0x7fff_0000_0000_0006_u64];
                let program = [1_u64, allow.as_ptr().addr() as u64];
                call(libc::SYS_seccomp, [1, 0, address(&program), 0, 0, 0])
            }
        }
    }

    /// An attempt on guest memory and its fence.
    fn on_memory(self, held: Held) -> io::Result<()> {
        let (start, size) = held.memory;
        let (memory, len, fence) = (long(start), long(size), held.fence.into());
        match self {
            Self::LoadEveryPage => {
                for page in pages(held) {
                    // SAFETY: inside the mapping, or the end of this process.
                    unsafe { page.read_volatile() };
                }
                Ok(())
            }
            Self::StoreEveryPage => {
                for page in pages(held) {
                    // SAFETY: as above.
                    unsafe { page.write_volatile(1) };
                }
                Ok(())
            }
            Self::ReadIntoEveryPage => every_page(held, libc::SYS_preadv),
            Self::WriteFromEveryPage => every_page(held, libc::SYS_pwritev),
            Self::PopulateMemory => {
                const MADV_POPULATE_WRITE: i64 = 23;
                call(libc::SYS_madvise, [memory, len, MADV_POPULATE_WRITE, 0, 0, 0])
            }
            Self::RemovePages => {
                call(libc::SYS_madvise, [memory, len, libc::MADV_REMOVE.into(), 0, 0, 0])
            }
            Self::CloseFence => call(libc::SYS_close, [fence, 0, 0, 0, 0, 0]),
            Self::CloseRangeFence => call(libc::SYS_close_range, [fence, fence, 0, 0, 0, 0]),
            Self::UnregisterFence => {
                // UFFDIO_UNREGISTER: _IOR(0xaa, 0x01, struct uffdio_range)
                let range = [start as u64, size as u64];
                call(libc::SYS_ioctl, [fence, 0x8010_aa01, address(&range), 0, 0, 0])
            }
            Self::RegisterOtherwise => {
                // UFFDIO_REGISTER with UFFDIO_REGISTER_MODE_WP
                let register = [start as u64, size as u64, 2, 0];
                call(libc::SYS_ioctl, [fence, 0xc020_aa00, address(&register), 0, 0, 0])
            }
            Self::ReplaceFence => call(libc::SYS_dup2, [0, fence, 0, 0, 0, 0]),
            Self::MoveMemory => {
                // Old size 0 of a shared mapping: a second mapping of the same pages.
                call(libc::SYS_mremap, [memory, 0, len, libc::MREMAP_MAYMOVE.into(), 0, 0])
            }
            Self::UnmapMemory => call(libc::SYS_munmap, [memory, len, 0, 0, 0, 0]),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn long(value: usize) -> libc::c_long {
    value.cast_signed() as libc::c_long
}

fn address<T>(of: &T) -> libc::c_long {
    long(std::ptr::from_ref(of).addr())
}

fn call(number: libc::c_long, args: [libc::c_long; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the caller passes numbers, and addresses of live locals or of the mapping. What is
    // done to the mapping no reference of the test rests on.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn pages(held: Held) -> impl Iterator<Item = *mut u8> {
    let (start, size) = held.memory;
    (start..start + size).step_by(4096).map(std::ptr::with_exposed_provenance_mut)
}

/// Does `number`, preadv or pwritev, of the image's first bytes with each page.
fn every_page(held: Held, number: libc::c_long) -> io::Result<()> {
    let mut refused = None;
    for page in pages(held) {
        let vector = libc::iovec { iov_base: page.cast(), iov_len: 512 };
        refused = call(number, [held.image.into(), address(&vector), 1, 0, 0, 0]).err().or(refused);
    }
    refused.map_or(Ok(()), Err)
}

/// Tries each descriptor that a process of ours can have; fails when all of them refuse.
fn every_descriptor(mut attempt: impl FnMut(libc::c_long) -> io::Result<()>) -> io::Result<()> {
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for fd in 0..64 {
        match attempt(fd) {
            Ok(()) => return Ok(()),
            Err(e) => refused = e,
        }
    }
    Err(refused)
}

/// Takes one message with a descriptor; fails when the message comes without it.
fn take_descriptor(socket: RawFd) -> io::Result<()> {
    let (mut bytes, mut control) = ([0_u8; 64], [0_u64; 8]);
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: an all-zero msghdr is one with nothing in it.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut vector, 1);
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    let flags = libc::c_long::from(libc::MSG_CMSG_CLOEXEC);
    let place = long((&raw mut header).addr());
    call(libc::SYS_recvmsg, [socket.into(), place, flags, 0, 0, 0])?;
    // SCM_RIGHTS of one descriptor is a header and four bytes.
    let came = header.msg_controllen >= size_of::<libc::cmsghdr>() + 4;
    if came { Ok(()) } else { Err(io::Error::other("the descriptor did not come")) }
}
