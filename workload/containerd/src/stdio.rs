//! Between containerd's FIFOs and a guest's streams.
//!
//! A FIFO is never opened waiting: whoever has the other end may come later, or never. Output is
//! opened with both its ends, so that it is there before a reader is and outlives a containerd that
//! is restarted; input with one, since its end is that nobody writes any more.

use crate::error::RuntimeError;
use crate::guest::Guest;
use casemate_agent::Stdio;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::net::{Shutdown, shutdown};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One copy's memory.
const PIECE: usize = 32 * 1024;
/// How long the last output may take to be read once a process has ended.
pub const LAST: Duration = Duration::from_secs(10);
/// How often a copy that nobody reads looks whether it is still wanted.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// Paths of FIFOs as containerd gives them; an empty one is none.
#[derive(Debug, Clone, Default)]
pub struct Paths {
    /// For input.
    pub stdin: String,
    /// For output.
    pub stdout: String,
    /// For complaints; none with a terminal.
    pub stderr: String,
}

/// The copies of a process' streams.
#[derive(Debug, Default)]
pub struct Copies {
    open: Mutex<usize>,
    ended: Condvar,
    given_up: AtomicBool,
    /// Dropped to end the copy of input.
    input: Mutex<Option<File>>,
}

/// Numbers for streams, from 1 on, of all processes of a pod.
#[derive(Debug)]
pub struct Numbers(AtomicU32);

impl Default for Numbers {
    fn default() -> Self {
        Self(AtomicU32::new(1))
    }
}

impl Copies {
    /// Opens what there is, connects each to the guest, and begins to copy. What the guest is to be
    /// told of it comes back.
    ///
    /// # Errors
    /// [`RuntimeError`] of a path that is no FIFO, and of a guest that cannot be reached.
    pub fn start(
        paths: &Paths,
        guest: &dyn Guest,
        numbers: &Numbers,
    ) -> Result<(Arc<Self>, Stdio), RuntimeError> {
        let copies = Arc::new(Self::default());
        let mut stdio = Stdio::default();
        let connect = || -> Result<(u32, File), RuntimeError> {
            let failed = || RuntimeError::of("a stream to the guest");
            let number = numbers.0.fetch_add(1, Ordering::Relaxed);
            let mut stream = guest.connect().map_err(failed())?;
            stream.write_all(&number.to_le_bytes()).map_err(failed())?;
            Ok((number, stream))
        };
        // All of them before the first connection: what the guest was given for a process that is
        // not made would stay there.
        let (stdout, stderr) =
            (fifo(&paths.stdout, OFlags::RDWR)?, fifo(&paths.stderr, OFlags::RDWR)?);
        let stdin = fifo(&paths.stdin, OFlags::RDONLY)?;
        for (fifo, number) in [(stdout, &mut stdio.stdout), (stderr, &mut stdio.stderr)] {
            if let Some(fifo) = fifo {
                let (connected, stream) = connect()?;
                *number = connected;
                copies.output(stream, fifo)?;
            }
        }
        if let Some(fifo) = stdin {
            let (connected, stream) = connect()?;
            stdio.stdin = connected;
            copies.feed(fifo, stream)?;
        }
        Ok((copies, stdio))
    }

    fn output(self: &Arc<Self>, mut from: File, mut to: File) -> Result<(), RuntimeError> {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        let copies = Arc::clone(self);
        let copy = move || {
            let mut piece = vec![0; PIECE];
            loop {
                let read = match from.read(&mut piece) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Ok(0) | Err(_) => break,
                    Ok(length) => piece.get(..length).unwrap_or_default(),
                };
                if !copies.write(&mut to, read) {
                    break;
                }
            }
            drop(to);
            *copies.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            copies.ended.notify_all();
        };
        let spawned = std::thread::Builder::new().name("output".into()).spawn(copy);
        if spawned.is_err() {
            *self.open.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        }
        spawned.map(drop).map_err(RuntimeError::of("a thread for output"))
    }

    /// Writes all of it, as a reader takes it; false when it is given up.
    fn write(&self, to: &mut File, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match to.write(bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    let _ = poll(&mut [PollFd::new(&*to, PollFlags::OUT)], Some(&LOOK));
                    if self.given_up.load(Ordering::Relaxed) {
                        return false;
                    }
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Copies input until nobody writes it any more, or it is closed.
    fn feed(self: &Arc<Self>, mut fifo: File, mut stream: File) -> Result<(), RuntimeError> {
        let failed = || RuntimeError::of("a thread for input");
        let (ended, end) = std::io::pipe().map_err(failed())?;
        let end = File::from(std::os::fd::OwnedFd::from(end));
        *self.input.lock().unwrap_or_else(PoisonError::into_inner) = Some(end);
        let feed = move || {
            let mut piece = vec![0; PIECE];
            let mut closing = false;
            loop {
                match fifo.read(&mut piece) {
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        if closing {
                            break;
                        }
                    }
                    // No writer: before the first one comes, or behind the last one.
                    Ok(0) if closing => break,
                    Ok(0) => {}
                    Err(_) => break,
                    Ok(length) => {
                        let bytes = piece.get(..length).unwrap_or_default();
                        if stream.write_all(bytes).is_err() {
                            break;
                        }
                        continue;
                    }
                }
                let flags = PollFlags::IN;
                let mut both = [PollFd::new(&fifo, flags), PollFd::new(&ended, flags)];
                match poll(&mut both, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => break,
                }
                let [of_fifo, of_end] = both.map(|one| one.revents());
                // The kernel tells of a hang-up only once there was a writer (`pipe_poll`).
                closing |= !of_end.is_empty()
                    || (of_fifo.contains(PollFlags::HUP) && !of_fifo.contains(PollFlags::IN));
            }
            let _ = shutdown(&stream, Shutdown::Write);
        };
        std::thread::Builder::new().name("input".into()).spawn(feed).map(drop).map_err(failed())
    }

    /// Nothing more comes by input; what was written before is still copied.
    pub fn close_input(&self) {
        self.input.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until the last output is where containerd reads it, or nobody reads.
    pub fn finish(&self, end: Instant) {
        self.close_input();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        while *open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.ended.wait_timeout(open, left);
            open = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// Opens a FIFO, without waiting; None where there is no path.
fn fifo(path: &str, access: OFlags) -> Result<Option<File>, RuntimeError> {
    if path.is_empty() {
        return Ok(None);
    }
    let file = Path::new(path);
    let failed = || RuntimeError::at("cannot open", file);
    if !file.is_absolute() {
        let shown = casemate_foreign_text::value(path);
        return Err(RuntimeError::Pod(format!("streams are FIFOs, and {shown} is no path of one")));
    }
    let flags = access | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let opened = open(file, flags, Mode::empty()).map_err(|e| failed()(e.into()))?;
    let stat = fstat(&opened).map_err(|e| failed()(e.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
        return Err(RuntimeError::Pod(format!(
            "streams are FIFOs, and {} is none",
            file.display()
        )));
    }
    Ok(Some(File::from(opened)))
}
