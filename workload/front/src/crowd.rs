//! All connections, and who has to go when there is no room.
//!
//! One rule for connections and for memory: who has been at something unfinished for the longest
//! time goes first. Whoever sends half a request and waits is that, and a client that does what it
//! came for is not, however many of the others there are.

use crate::connection::{Connection, Phase};
use std::collections::BTreeMap;
use std::time::Instant;

/// Bytes of requests that are not answered, of all connections together.
pub(crate) const REQUESTS: usize = 32 * 1024 * 1024;
/// Bytes of answers that are not sent, of all connections together.
pub(crate) const ANSWERS: usize = 32 * 1024 * 1024;

/// All connections, by a number that says which came first.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    connections: BTreeMap<u64, Connection>,
    next: u64,
}

impl Crowd {
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn add(&mut self, connection: Connection) -> u64 {
        let number = self.next;
        self.next += 1;
        self.connections.insert(number, connection);
        number
    }

    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.get_mut(&number)
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Connection> {
        self.connections.remove(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Connection)> {
        self.connections.iter().map(|(number, connection)| (*number, connection))
    }

    /// Those whose time is over.
    pub(crate) fn expired(&self, now: Instant) -> Vec<u64> {
        let over = self.iter().filter(|(_, connection)| connection.until() <= now);
        over.map(|(number, _)| number).collect()
    }

    /// Who goes when there is no room for one more: of those that ask for nothing the one that has
    /// for the longest time, else of those that are at something. Not who waits for the keeper.
    pub(crate) fn to_go(&self, of: impl Fn(&Connection) -> bool) -> Option<u64> {
        let rank = |connection: &Connection| match connection.phase() {
            Phase::Idle | Phase::Closing => Some(0),
            Phase::Handshake | Phase::Reading => Some(1),
            Phase::Answering => Some(2),
            Phase::Queued | Phase::Asked(_) => None,
        };
        let those = self.iter().filter(|(_, connection)| of(connection));
        let ranked = those.filter_map(|(number, connection)| {
            rank(connection).map(|rank| (rank, connection.since(), number))
        });
        ranked.min().map(|(_, _, number)| number)
    }

    /// Who goes since there is no memory: of those that hold some.
    pub(crate) fn too_large(&self) -> Option<u64> {
        let (mut requests, mut answers) = (0, 0);
        for (_, connection) in self.iter() {
            let (request, answer) = connection.held();
            (requests, answers) = (requests + request, answers + answer);
        }
        let oldest = |of: Phase| {
            let those = self.iter().filter(|(_, connection)| connection.phase() == of);
            those.min_by_key(|(_, connection)| connection.since()).map(|(number, _)| number)
        };
        // Who is read from goes first. Where nobody is, no request grows any more, and answers,
        // which have a bound of their own, do.
        if requests > REQUESTS
            && let Some(number) = oldest(Phase::Reading)
        {
            return Some(number);
        }
        if answers > ANSWERS { oldest(Phase::Answering) } else { None }
    }
}
