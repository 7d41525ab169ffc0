//! Who asks a supervisor: a few connections, none of which is ever waited for.

use super::Answer;
use super::answer::MAX_ANSWER;
use super::request::{MAX_REQUEST, Request};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Connections that are kept.
pub(super) const MAX_CLIENTS: usize = 8;

/// What a connection is told without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vm) enum Waits {
    /// The lines from this one on, once there are any.
    Lines(u64),
    /// The end.
    End,
}

/// A connection.
#[derive(Debug)]
struct Client {
    socket: OwnedFd,
    waits: Option<Waits>,
}

/// The connections, the oldest first.
#[derive(Debug, Default)]
pub(in crate::vm) struct Clients(Vec<Client>);

impl Clients {
    /// Room for all of them.
    pub(in crate::vm) fn new() -> Self {
        Self(Vec::with_capacity(MAX_CLIENTS))
    }

    /// Takes one more. Where there is no place the oldest loses its own: who connects and asks for
    /// nothing, as often as it likes, keeps nobody else away.
    pub(in crate::vm) fn add(&mut self, socket: OwnedFd) {
        if self.0.len() >= MAX_CLIENTS {
            self.0.remove(0);
        }
        self.0.push(Client { socket, waits: None });
    }

    pub(in crate::vm) fn len(&self) -> usize {
        self.0.len()
    }

    pub(in crate::vm) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|client| client.socket.as_fd())
    }

    /// The request that the one in this place has sent, if it is whole. A connection that is
    /// closed, or says what is no request, is left, so places behind it change.
    pub(in crate::vm) fn request(&mut self, place: usize) -> Option<Request> {
        let client = self.0.get_mut(place)?;
        // Longer than any request, so that one that is cut is none.
        let mut packet = [0; MAX_REQUEST + 1];
        let request = match recv(&client.socket, &mut packet[..], RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return None,
            // What it waited for it does not wait for any more.
            Ok((len, _)) => Request::decode(packet.get(..len).unwrap_or_default()),
            Err(_) => None,
        };
        client.waits = None;
        if request.is_none() {
            self.0.remove(place);
        }
        request
    }

    /// Answers the one in this place; one that has no room for it is left.
    pub(in crate::vm) fn answer(&mut self, place: usize, answer: &Answer) {
        let mut text = answer.to_string();
        if text.len() > MAX_ANSWER {
            text = Answer::Refused("it is longer than an answer can be".into()).to_string();
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = self.0.get(place).map(|client| send(&client.socket, text.as_bytes(), flags));
        if matches!(sent, Some(Err(_))) {
            self.0.remove(place);
        }
    }

    /// Remembers what the one in this place waits for.
    pub(in crate::vm) fn wait(&mut self, place: usize, what: Waits) {
        if let Some(client) = self.0.get_mut(place) {
            client.waits = Some(what);
        }
    }

    /// Tells everybody what `news` has for what they wait for.
    pub(in crate::vm) fn tell(&mut self, news: impl Fn(Waits) -> Option<Answer>) {
        for place in (0..self.0.len()).rev() {
            let Some(client) = self.0.get_mut(place) else { continue };
            if let Some(answer) = client.waits.and_then(&news) {
                client.waits = None;
                self.answer(place, &answer);
            }
        }
    }
}
