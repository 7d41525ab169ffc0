//! Between a process and its connections: threads that copy.
//!
//! A process never has a connection itself: a program that opens `/dev/stdout` could not open a
//! socket, and one whose output nobody may see must not wait for a reader that never comes. What
//! the manifest keeps from the host is read all the same, and goes nowhere.

use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One copy's memory.
const PIECE: usize = 32 * 1024;
/// How long a process' last output may take to be taken by the host once it has ended. It is the
/// host's loss then: its end is told nevertheless.
const LAST: Duration = Duration::from_secs(10);

/// The output of a process that is on its way.
#[derive(Debug, Default)]
pub struct Output {
    open: Mutex<usize>,
    ended: Condvar,
    /// Connections, to close those that nobody reads from.
    to: Mutex<Vec<File>>,
}

impl Output {
    /// Copies what a process writes to a connection, or reads it for nobody. The connection ends
    /// with it.
    pub fn copy(self: &Arc<Self>, from: File, to: Option<File>) -> std::io::Result<()> {
        if let Some(to) = &to {
            let to = to.try_clone()?;
            self.to.lock().unwrap_or_else(PoisonError::into_inner).push(to);
        }
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let output = Arc::clone(self);
        let ended = move || {
            *output.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            output.ended.notify_all();
        };
        let spawned = std::thread::Builder::new().name("output".into()).spawn({
            let ended = ended.clone();
            move || {
                copy_all(from, to.as_ref());
                if let Some(to) = &to {
                    let _ = shutdown(to, Shutdown::Write);
                }
                ended();
            }
        });
        if spawned.is_err() {
            ended();
        }
        spawned.map(drop)
    }

    /// Waits until all of it is on its way. What the host has not taken by then is lost, and its
    /// connection is closed: a thread that waits for a reader would be there for good, one more
    /// with each process.
    pub fn wait(&self) {
        let end = Instant::now() + LAST;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while *open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.ended.wait_timeout(open, left);
            open = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(open);
        for to in self.to.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = shutdown(&to, Shutdown::Both);
        }
    }
}

/// Copies what comes by a connection to a process, which sees an end when the connection has one.
pub fn feed(mut from: File, mut to: File) -> std::io::Result<()> {
    let feed = move || {
        let mut piece = vec![0; PIECE];
        while let Some(bytes) = next(&mut from, &mut piece) {
            if to.write_all(bytes).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".into()).spawn(feed).map(drop)
}

fn copy_all(mut from: File, mut to: Option<&File>) {
    let mut piece = vec![0; PIECE];
    while let Some(bytes) = next(&mut from, &mut piece) {
        if to.is_some_and(|mut to| to.write_all(bytes).is_err()) {
            to = None;
        }
    }
}

/// What comes next; None at the end. A terminal whose last user is gone has no end, but EIO.
fn next<'p>(from: &mut File, piece: &'p mut [u8]) -> Option<&'p [u8]> {
    loop {
        return match from.read(piece) {
            Ok(0) => None,
            Ok(length) => piece.get(..length),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.raw_os_error() == Some(Errno::IO.raw_os_error()) => None,
            Err(_) => None,
        };
    }
}
