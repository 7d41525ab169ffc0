//! Taking and holding a name, and answering who asks.

use super::NameError;
use super::answer::MAX_ANSWER;
use super::seek::{self, Holder};
use casemate_sandbox::peer;
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketAddrUnix, SocketFlags, accept_with, listen, send};
use rustix::process::geteuid;
use rustix::rand::{GetRandomFlags, getrandom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// A held name.
#[derive(Debug)]
pub struct Name {
    socket: OwnedFd,
    user: u32,
}

impl Name {
    /// Takes the name.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn take(name: &str) -> Result<Self, NameError> {
        let wrong = |e: std::io::Error| NameError::System { name: name.into(), source: e };
        let wrong_call = |e: Errno| wrong(e.into());
        let address = seek::address(name, &random_word().map_err(wrong_call)?);
        // First held, then looked: of two who take it at the same time at least one sees the other.
        let socket = bind(&address).map_err(wrong_call)?;
        let until = seek::patience();
        for other in seek::addresses(name, until).map_err(wrong)? {
            if other == address {
                continue;
            }
            match seek::reach(&other, until).map_err(wrong_call)? {
                Holder::Ours(..) => return Err(NameError::InUse(name.into())),
                Holder::Mute => return Err(NameError::Mute(name.into())),
                Holder::Foreign | Holder::Gone => {}
            }
        }
        Ok(Self { socket, user: geteuid().as_raw() })
    }

    /// Answers one waiting asker with `state`, if it is of this user, or root: the connection to
    /// it. Bounded work, and an asker who does not read loses.
    pub fn answer(&self, state: &str) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let asker = accept_with(&self.socket, flags).ok()?;
        if !peer(&asker).is_ok_and(|peer| peer.uid == self.user || peer.uid == 0) {
            return None;
        }
        let bytes = state.as_bytes().get(..state.len().min(MAX_ANSWER)).unwrap_or(&[]);
        send(&asker, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok()?;
        Some(asker)
    }
}

impl AsFd for Name {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A socket that listens at an address, which is held by it and nothing else.
pub(super) fn bind(address: &str) -> Result<OwnedFd, Errno> {
    let socket = seek::unix_socket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new_abstract_name(address.as_bytes())?)?;
    listen(&socket, 16)?;
    Ok(socket)
}

fn random_word() -> Result<String, Errno> {
    let mut bytes = [0; 8];
    let len = getrandom(&mut bytes[..], GetRandomFlags::empty())?;
    // The kernel gives so few bytes whole or not at all (getrandom(2)).
    if len != bytes.len() {
        return Err(Errno::AGAIN);
    }
    Ok(casemate_policy::hex(&bytes))
}
