//! Requests out of the bytes of one connection, one after the other.

use super::head::{Head, Method};
use super::lines::{Lines, MAX_HEAD};
use super::refusal::Refusal;

/// Memory for bytes that a connection keeps from one request to the next.
const KEPT: usize = 4 * 1024;

/// The bytes of one connection, and the request that they begin with.
#[derive(Debug)]
pub struct Reader {
    bytes: Vec<u8>,
    state: State,
}

#[derive(Debug)]
enum State {
    Head(Lines),
    /// The head is not among the bytes any more.
    Body(Head),
    Refused(Refusal),
}

/// A request that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// `GET` or `POST`.
    pub method: Method,
    /// Path and query, as they stand in the request.
    pub path: &'a str,
    /// The `Cookie` header.
    pub cookie: Option<&'a [u8]>,
    /// The `Authorization` header.
    pub authorization: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
    /// The connection is to end with the answer.
    pub close: bool,
}

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// No byte of a request has come.
    Nothing,
    /// A request has begun.
    Begun {
        /// Whoever sends it waits for [`super::CONTINUE`] before it sends the body.
        waits: bool,
    },
    /// A request is whole. Nothing more is taken before [`Reader::next`].
    Whole(Request<'a>),
    /// What came is answered so, and nothing more is taken.
    Refused(Refusal),
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// Nothing came yet.
    #[must_use]
    pub fn new() -> Self {
        Self { bytes: Vec::new(), state: State::Head(Lines::default()) }
    }

    /// How many bytes [`Reader::push`] would take now.
    #[must_use]
    pub fn room(&self) -> usize {
        match &self.state {
            // One more, since a head that is too long is known by that.
            State::Head(_) => (MAX_HEAD + 1).saturating_sub(self.bytes.len()),
            State::Body(head) => head.length.saturating_sub(self.bytes.len()),
            State::Refused(_) => 0,
        }
    }

    /// Takes bytes, as many as there is room for; how many.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        // What ends a head may leave room for a body.
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let room = self.room().min(rest.len());
            if room == 0 {
                return taken;
            }
            self.bytes.extend_from_slice(rest.get(..room).unwrap_or_default());
            taken += room;
            self.look();
        }
    }

    /// Looks for the end of a head.
    fn look(&mut self) {
        let State::Head(lines) = &mut self.state else { return };
        let found = match lines.look(&self.bytes) {
            Ok(None) => return,
            Ok(Some(length)) => {
                let head = Head::read(self.bytes.get(..length).unwrap_or_default());
                self.bytes.drain(..length);
                head
            }
            Err(refusal) => Err(refusal),
        };
        self.state = match found {
            Ok(head) => State::Body(head),
            Err(refusal) => {
                self.bytes = Vec::new();
                State::Refused(refusal)
            }
        };
    }

    /// Where the connection is.
    #[must_use]
    pub fn step(&self) -> Step<'_> {
        match &self.state {
            State::Refused(refusal) => Step::Refused(*refusal),
            State::Head(_) if self.bytes.is_empty() => Step::Nothing,
            State::Head(_) => Step::Begun { waits: false },
            State::Body(head) => match self.bytes.get(..head.length) {
                None => Step::Begun { waits: head.expects && self.bytes.is_empty() },
                Some(body) => Step::Whole(Request {
                    method: head.method,
                    path: &head.path,
                    cookie: head.cookie.as_deref(),
                    authorization: head.authorization.as_deref(),
                    body,
                    close: head.close,
                }),
            },
        }
    }

    /// Goes on with what follows a request that was whole.
    pub fn next(&mut self) {
        let State::Body(head) = &self.state else { return };
        if self.bytes.len() < head.length {
            return;
        }
        self.bytes.drain(..head.length);
        self.bytes.shrink_to(KEPT);
        self.state = State::Head(Lines::default());
        self.look();
    }

    /// Bytes of memory that the request takes.
    #[must_use]
    pub fn held(&self) -> usize {
        let headers = match &self.state {
            State::Body(head) => {
                let header = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
                head.path.len() + header(&head.cookie) + header(&head.authorization)
            }
            State::Head(_) | State::Refused(_) => 0,
        };
        self.bytes.capacity() + headers
    }
}
