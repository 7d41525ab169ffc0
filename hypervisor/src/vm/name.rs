//! The name of a running VM.
//!
//! A name is held as a listening socket in the abstract namespace: it is taken as long as the supervisor lives and
//! gone with it, even after `kill -9`, without a file to clean up. Whoever connects gets the list of the VM's
//! processes, and nothing else.

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, connect, listen, recv, send, socket_with,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Why a name cannot be had or found.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Another VM of this user has it.
    #[error("`name`: a VM called {0:?} is running already: choose another name")]
    InUse(String),
    /// No VM of this user has it.
    #[error("no VM called {0:?} is running (as this user)")]
    NotFound(String),
    /// The socket cannot be made.
    #[error("cannot hold the VM name {name:?}: {source}")]
    Socket {
        /// The name.
        name: String,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Longest list of processes.
const MAX_STATE: usize = 4096;

fn address(name: &str) -> Result<SocketAddrUnix, Errno> {
    let uid = rustix::process::getuid().as_raw();
    SocketAddrUnix::new_abstract_name(format!("casemate/{uid}/{name}").as_bytes())
}

fn unix_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// A held name.
#[derive(Debug)]
pub struct Name(OwnedFd);

impl Name {
    /// Takes the name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn take(name: &str) -> Result<Self, NameError> {
        let wrong = |e: Errno| NameError::Socket { name: name.into(), source: e.into() };
        let socket = unix_socket().map_err(wrong)?;
        match bind(&socket, &address(name).map_err(wrong)?) {
            Ok(()) => {}
            Err(Errno::ADDRINUSE) => return Err(NameError::InUse(name.into())),
            Err(e) => return Err(wrong(e)),
        }
        listen(&socket, 4).map_err(wrong)?;
        Ok(Self(socket))
    }

    /// Answers one waiting asker with `state`; bounded work, and an asker who does not read loses.
    pub fn answer(&self, state: &str) {
        if let Ok(asker) = accept_with(&self.0, SocketFlags::CLOEXEC) {
            let bytes = state.as_bytes().get(..state.len().min(MAX_STATE)).unwrap_or(&[]);
            let _ = send(&asker, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        }
    }
}

impl AsFd for Name {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Asks a running VM for its processes: lines of `kind pid`.
///
/// # Errors
/// [`NameError`].
pub fn ask(name: &str) -> Result<String, NameError> {
    let wrong = |e: Errno| match e {
        Errno::CONNREFUSED => NameError::NotFound(name.into()),
        e => NameError::Socket { name: name.into(), source: e.into() },
    };
    let socket = unix_socket().map_err(wrong)?;
    connect(&socket, &address(name).map_err(wrong)?).map_err(wrong)?;
    rustix::fs::fcntl_setfl(&socket, rustix::fs::OFlags::empty()).map_err(wrong)?;
    let mut state = vec![0; MAX_STATE];
    let (len, _) = recv(&socket, &mut state[..], RecvFlags::empty()).map_err(wrong)?;
    state.truncate(len);
    Ok(String::from_utf8_lossy(&state).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_free_again_afterwards() {
        let name = format!("test-{}", std::process::id());
        let held = Name::take(&name).unwrap();
        assert!(matches!(Name::take(&name), Err(NameError::InUse(_))));
        drop(held);
        Name::take(&name).unwrap();
        assert!(matches!(ask("no-such-vm"), Err(NameError::NotFound(_))));
    }

    #[test]
    fn who_asks_gets_the_state() {
        let name = format!("test-ask-{}", std::process::id());
        let held = Name::take(&name).unwrap();
        let asker = std::thread::spawn({
            let name = name.clone();
            move || ask(&name).unwrap()
        });
        while rustix::event::poll(
            &mut [rustix::event::PollFd::new(&held, rustix::event::PollFlags::IN)],
            None,
        )
        .is_err()
        {}
        held.answer("vmm 42\n");
        assert_eq!(asker.join().unwrap(), "vmm 42\n");
    }
}
