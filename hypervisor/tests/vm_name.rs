//! Names of VMs between users: what another user does with a name neither takes it, nor is
//! believed, nor learns anything. Cannot tell about users of other user namespaces. Skipped, and
//! said so, not as root.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use casemate_hypervisor::vm::name::{Name, NameError, ask};
use casemate_sandbox::Exit;
use casemate_test_support::sandbox::as_ordinary_user;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
    connect, listen, recv, recvmsg, send, sendmsg, socket_with,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

fn socket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
}

fn at(address: &str) -> SocketAddrUnix {
    SocketAddrUnix::new_abstract_name(address.as_bytes()).unwrap()
}

/// The address at which `name` is held, as the kernel lists it.
fn held_at(name: &str) -> String {
    let list = std::fs::read_to_string("/proc/self/net/unix").unwrap();
    let line = list.lines().find(|line| line.contains(&format!("casemate/0/{name}/"))).unwrap();
    line.split_once('@').unwrap().1.to_owned()
}

/// A process of another user, with the same descriptors, that does `what` and is then waited for.
fn stranger(what: impl FnOnce() -> i32) {
    assert_eq!(as_ordinary_user(what), Exit::Code(0));
}

/// Protects who asks and who starts a VM. The stranger's socket is inherited from it, listening:
/// the kernel says of a socket who made it listen, which is what counts.
fn a_stranger_under_a_name_is_neither_believed_nor_in_the_way() {
    let name = format!("squatted-{}", std::process::id());
    let address = format!("casemate/0/{name}/0000000000000000");
    let squatter = socket();
    stranger_listens(&squatter, &address);
    assert!(matches!(ask(&name), Err(NameError::NotFound(_))), "a stranger is no VM");
    let held = Name::take(&name).unwrap();
    assert!(matches!(Name::take(&name), Err(NameError::InUse(_))));
    drop(held);
    // Whatever it says to who has connected, nobody listens any more.
    while let Ok(asker) = accept(&squatter) {
        let _ = send(&asker, b"supervisor 1\n", SendFlags::NOSIGNAL);
    }
}

/// Makes a socket of ours listen at an address as another user: the socket stays open in this
/// process.
fn stranger_listens(squatter: &OwnedFd, address: &str) {
    bind(squatter, &at(address)).unwrap();
    stranger(|| i32::from(listen(squatter, 16).is_err()));
    rustix::io::ioctl_fionbio(squatter, true).unwrap();
}

/// Protects what a VM is made of: which processes it has is told to its user, and to root.
fn a_stranger_who_asks_gets_no_answer() {
    let name = format!("private-{}", std::process::id());
    let held = Name::take(&name).unwrap();
    let address = held_at(&name);
    let (asks, asked) = (socket(), socket());
    stranger(|| i32::from(connect(&asks, &at(&address)).is_err()));
    held.answer("supervisor 1\n");
    let mut bytes = [0; 64];
    let got = recv(&asks, &mut bytes[..], RecvFlags::empty()).map(|(len, _)| len);
    assert!(matches!(got, Ok(0) | Err(_)), "{got:?}");
    connect(&asked, &at(&address)).unwrap();
    held.answer("supervisor 1\n");
    let (len, _) = recv(&asked, &mut bytes[..], RecvFlags::empty()).unwrap();
    assert_eq!(bytes.get(..len), Some(&b"supervisor 1\n"[..]));
}

/// Sockets that a stranger lets listen, more than are ever looked at.
const FLOOD: usize = 200;

/// Protects a name from a stranger with many sockets, each of which takes no connection any more:
/// none of them is waited for, and the VM's own is found among them. Fails where the kernel does
/// not say whose a socket is (CONFIG_UNIX_DIAG): there a name is not protected from this.
fn a_stranger_with_many_mute_sockets_is_not_in_the_way() {
    let name = format!("flooded-{}", std::process::id());
    let (ours, theirs) = UnixStream::pair().unwrap();
    stranger(|| {
        let flood: Vec<OwnedFd> = (0..FLOOD).map(|number| mute(&name, number)).collect();
        let flood: Vec<BorrowedFd<'_>> = flood.iter().map(AsFd::as_fd).collect();
        let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FLOOD))];
        let mut message = SendAncillaryBuffer::new(&mut room);
        let _ = message.push(SendAncillaryMessage::ScmRights(&flood));
        let one = [IoSlice::new(&[0])];
        i32::from(sendmsg(&theirs, &one, &mut message, SendFlags::empty()).is_err())
    });
    let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FLOOD))];
    let mut message = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    recvmsg(&ours, &mut [IoSliceMut::new(&mut byte)], &mut message, RecvFlags::empty()).unwrap();
    let flood: Vec<OwnedFd> = message
        .drain()
        .filter_map(|one| match one {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(flood.len(), FLOOD);
    assert!(matches!(ask(&name), Err(NameError::NotFound(_))), "{:?}", ask(&name));
    let _held = Name::take(&name).unwrap();
    assert!(matches!(Name::take(&name), Err(NameError::InUse(_))));
}

/// A socket that listens under a name and has its queue full.
fn mute(name: &str, number: usize) -> OwnedFd {
    let address = at(&format!("casemate/0/{name}/{number:016x}"));
    let listener = socket();
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    loop {
        let asks = socket();
        rustix::io::ioctl_fionbio(&asks, true).unwrap();
        if connect(&asks, &address).is_err() {
            return listener;
        }
    }
}

fn main() -> ExitCode {
    casemate_test_support::sandbox::main(&[
        (
            "a_stranger_under_a_name_is_neither_believed_nor_in_the_way",
            a_stranger_under_a_name_is_neither_believed_nor_in_the_way,
        ),
        ("a_stranger_who_asks_gets_no_answer", a_stranger_who_asks_gets_no_answer),
        (
            "a_stranger_with_many_mute_sockets_is_not_in_the_way",
            a_stranger_with_many_mute_sockets_is_not_in_the_way,
        ),
    ])
}
