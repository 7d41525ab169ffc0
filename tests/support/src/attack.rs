//! What a process under an attacker's control would try, for tests: each attempt succeeds in an
//! ordinary process of root and must fail in a locked one. No program uses this module.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

/// Something that a locked process must not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attack {
    /// Opens a file to read.
    Open,
    /// Creates a file.
    Create,
    /// Connects to a TCP port.
    Connect,
    /// Connects to an abstract socket of another process.
    AbstractConnect,
    /// Makes a socket.
    Socket,
    /// Makes a process.
    Fork,
    /// Runs a program.
    Exec,
    /// Traces another process.
    Ptrace,
    /// Reads another process's memory.
    ReadMemory,
    /// Signals another process.
    Signal,
    /// Gets a handle of another process.
    PidfdOpen,
    /// Maps memory that is writable and executable.
    MapExecutable,
    /// Makes memory executable that was writable.
    MakeExecutable,
    /// Maps more memory.
    Map,
    /// Makes a user namespace.
    UserNamespace,
    /// Mounts a file system.
    Mount,
    /// Changes its user id.
    BecomeRoot,
    /// Sets up an io_uring, whose operations no filter sees.
    IoUring,
    /// Makes a file in memory, which could be executed.
    MemoryFile,
    /// Loads a BPF program or makes a map.
    Bpf,
}

/// The process that attacks are aimed at.
#[derive(Debug, Clone, Copy)]
pub struct Victim<'a> {
    /// Its number.
    pub pid: u32,
    /// The name of an abstract socket on which it listens.
    pub abstract_socket: &'a [u8],
}

/// Has the same address in the victim, which is a copy of the same program.
static PLACE: u8 = 0;

/// A system call whose result is not negative when it succeeds.
fn call(number: libc::c_long, args: [libc::c_long; 6]) -> io::Result<libc::c_long> {
    let [a, b, c, d, e, f] = args;
    // SAFETY: callers pass numbers and addresses of live locals of the size that the call reads or
    // writes.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn numbers<const N: usize>(given: [libc::c_long; N]) -> [libc::c_long; 6] {
    let mut args = [0; 6];
    for (to, from) in args.iter_mut().zip(given) {
        *to = from;
    }
    args
}

/// A system call that an attacker tries with numbers only: where it wants an address, what is given
/// is none, and the call fails by that if nothing else ends it before.
///
/// # Errors
/// The call's.
pub fn call_with_numbers(number: libc::c_long, given: [libc::c_long; 2]) -> io::Result<()> {
    call(number, numbers(given)).map(drop)
}

/// The address of a local, as a system call takes it.
fn address<T: ?Sized>(of: *const T) -> libc::c_long {
    of.cast::<()>().addr().cast_signed() as libc::c_long
}

impl Attack {
    /// Every attack, and whether the layers other than the filter stop it by themselves.
    pub const ALL: [(Self, bool); 20] = [
        (Self::Open, true),
        (Self::Create, true),
        (Self::Connect, true),
        (Self::AbstractConnect, true),
        (Self::Socket, false),
        (Self::Fork, false),
        (Self::Exec, true),
        (Self::Ptrace, true),
        (Self::ReadMemory, true),
        (Self::Signal, true),
        (Self::PidfdOpen, true),
        (Self::MapExecutable, true),
        (Self::MakeExecutable, true),
        (Self::Map, false),
        (Self::UserNamespace, false),
        (Self::Mount, true),
        (Self::BecomeRoot, true),
        (Self::IoUring, false),
        (Self::MemoryFile, false),
        (Self::Bpf, true),
    ];

    /// Makes the attempt. `Exec` does not return when it succeeds: the process then ends with
    /// status 0.
    ///
    /// # Errors
    /// The kernel's refusal, which is what is hoped for.
    pub fn attempt(self, victim: Victim<'_>) -> io::Result<()> {
        let pid = libc::c_long::from(victim.pid);
        match self {
            Self::Open => std::fs::File::open("/etc/passwd").map(drop),
            Self::Create => {
                let path = format!("/tmp/casemate-attack-{}", std::process::id());
                std::fs::File::create(&path)?;
                std::fs::remove_file(path)
            }
            Self::Connect => {
                let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
                std::net::TcpStream::connect(listener.local_addr()?).map(drop)
            }
            Self::AbstractConnect => {
                let address = SocketAddr::from_abstract_name(victim.abstract_socket)?;
                UnixStream::connect_addr(&address).map(drop)
            }
            Self::Socket => std::net::UdpSocket::bind("127.0.0.1:0").map(drop).or_else(|e| {
                // What counts is the socket, not the binding.
                if e.raw_os_error() == Some(libc::EACCES) { Ok(()) } else { Err(e) }
            }),
            Self::Fork => fork(),
            Self::Exec => exec(),
            Self::Ptrace => {
                call(libc::SYS_ptrace, numbers([libc::c_long::from(libc::PTRACE_SEIZE), pid]))
                    .map(drop)
            }
            Self::ReadMemory => {
                let (mut byte, place) = (0_u8, &raw const PLACE);
                let local = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
                let remote = libc::iovec { iov_base: place.cast_mut().cast(), iov_len: 1 };
                let args = [pid, address(&raw const local), 1, address(&raw const remote), 1];
                call(libc::SYS_process_vm_readv, numbers(args)).map(drop)
            }
            Self::Signal => {
                call(libc::SYS_kill, numbers([pid, libc::c_long::from(libc::SIGCONT)])).map(drop)
            }
            Self::PidfdOpen => call(libc::SYS_pidfd_open, numbers([pid])).map(drop),
            Self::MapExecutable => {
                map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC).map(drop)
            }
            Self::MakeExecutable => {
                let page = map(libc::PROT_READ | libc::PROT_WRITE)?;
                let protection = libc::c_long::from(libc::PROT_READ | libc::PROT_EXEC);
                call(libc::SYS_mprotect, numbers([page, 4096, protection])).map(drop)
            }
            Self::Map => map(libc::PROT_READ).map(drop),
            Self::UserNamespace => {
                let flags = libc::c_long::from(libc::CLONE_NEWUSER);
                call(libc::SYS_unshare, numbers([flags])).map(drop)
            }
            Self::Mount => mount(),
            Self::BecomeRoot => call(libc::SYS_setuid, numbers([0])).map(drop),
            Self::IoUring => {
                let mut params = [0_u8; 120];
                let args = numbers([1, address(&raw mut params)]);
                call(libc::SYS_io_uring_setup, args).map(drop)
            }
            Self::MemoryFile => {
                let args = numbers([address(c"attack".as_ptr())]);
                call(libc::SYS_memfd_create, args).map(drop)
            }
            Self::Bpf => {
                // BPF_MAP_CREATE of an array of one u32: type, key size, value size, entries.
                let attributes: [u32; 32] = std::array::from_fn(|i| match i {
                    0 => 2,
                    1 | 2 => 4,
                    3 => 1,
                    _ => 0,
                });
                let args = numbers([0, address(&raw const attributes), 128]);
                call(libc::SYS_bpf, args).map(drop)
            }
        }
    }
}

fn map(protection: libc::c_int) -> io::Result<libc::c_long> {
    let flags = libc::c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    call(libc::SYS_mmap, [0, 4096, libc::c_long::from(protection), flags, -1, 0])
}

fn fork() -> io::Result<()> {
    let child = call(libc::SYS_clone, numbers([libc::c_long::from(libc::SIGCHLD)]))?;
    if child == 0 {
        casemate_sandbox::exit(0);
    }
    call(libc::SYS_wait4, numbers([child])).map(drop)
}

fn exec() -> io::Result<()> {
    let argv = [c"true".as_ptr(), std::ptr::null()];
    let args = [address(c"/bin/true".as_ptr()), address(&raw const argv)];
    call(libc::SYS_execve, numbers(args)).map(drop)
}

fn mount() -> io::Result<()> {
    // Not seen by others: in a namespace of its own, if the attacker may make one.
    let own = libc::c_long::from(libc::CLONE_NEWNS);
    call(libc::SYS_unshare, numbers([own]))?;
    let (name, place) = (address(c"tmpfs".as_ptr()), address(c"/".as_ptr()));
    let flags = libc::c_long::try_from(libc::MS_REC | libc::MS_PRIVATE).unwrap_or(0);
    call(libc::SYS_mount, numbers([name, place, name, flags])).map(drop)
}
