//! The keeper, as the front has it: calls go there, and answers come in any order.

use crate::socket::{Socket, at_once};
use casemate_relay::{Answer, Call, Inbox, Message, RelayError, ToFront, ToKeeper};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};

/// Bytes taken from the keeper at once.
const AT_ONCE: usize = 64 * 1024;

/// Why nobody can be served any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the keeper is gone")]
    Gone,
    #[error("the keeper cannot be reached: {0}")]
    Io(#[from] io::Error),
    #[error("the keeper's words make no sense: {0}")]
    Nonsense(#[from] RelayError),
    #[error("the keeper answered what nobody asked")]
    Unasked,
}

/// The way to the keeper.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Socket,
    out: Vec<u8>,
    sent: usize,
    inbox: Inbox,
    next: u64,
    /// Who asked what has not been answered; nobody, when it did not wait so long. The keeper works
    /// for it all the same, so it counts.
    asked: BTreeMap<u64, Option<u64>>,
    buffer: Vec<u8>,
}

impl Link {
    pub(crate) fn new(socket: Socket) -> Self {
        let (out, inbox, buffer) = (Vec::new(), Inbox::new(), vec![0; AT_ONCE]);
        Self { socket, out, sent: 0, inbox, next: 1, asked: BTreeMap::new(), buffer }
    }

    pub(crate) const fn socket(&self) -> &Socket {
        &self.socket
    }

    /// How many calls the keeper has.
    pub(crate) fn calls(&self) -> usize {
        self.asked.len()
    }

    /// Whether something is left to be sent.
    pub(crate) const fn is_behind(&self) -> bool {
        self.sent < self.out.len()
    }

    /// Asks for a connection; gives the call's number.
    pub(crate) fn ask(&mut self, connection: u64, call: Call<'_>) -> Result<u64, LinkError> {
        let id = self.next;
        ToKeeper::Call { id, call }.write(&mut self.out)?;
        self.next += 1;
        self.asked.insert(id, Some(connection));
        self.flush()?;
        Ok(id)
    }

    /// Nobody waits for a call's answer any more.
    pub(crate) fn forget(&mut self, id: u64) {
        if let Some(who) = self.asked.get_mut(&id) {
            *who = None;
        }
    }

    /// Sends what can be sent at once.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match at_once((&self.socket).write(rest))? {
                Some(sent) => self.sent += sent,
                None => return Ok(()),
            }
        }
        self.out.clear();
        self.out.shrink_to(AT_ONCE);
        self.sent = 0;
        Ok(())
    }

    /// Takes what has come, and gives each answer with the connection that waits for it.
    pub(crate) fn read(&mut self, mut each: impl FnMut(u64, &Answer<'_>)) -> Result<(), LinkError> {
        let Some(length) = at_once((&self.socket).read(&mut self.buffer))? else { return Ok(()) };
        if length == 0 {
            return Err(LinkError::Gone);
        }
        self.inbox.push(self.buffer.get(..length).unwrap_or_default());
        while let Some(message) = self.inbox.next()? {
            let ToFront::Answer { id, answer } = message else { return Err(LinkError::Unasked) };
            match self.asked.remove(&id) {
                Some(Some(connection)) => each(connection, &answer),
                Some(None) => {}
                None => return Err(LinkError::Unasked),
            }
        }
        Ok(())
    }
}
