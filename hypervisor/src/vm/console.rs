//! The supervisor's side of the console: terminal, file or pseudo-terminal.
//!
//! A terminal is left as it was found, however the VM ends: [`HostConsole`] restores it when dropped. Ctrl-C stays a
//! signal for the supervisor; every other key goes to the guest.

use crate::config::Console;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

/// Bytes on their way to the host's side at most.
const CHUNK: usize = 4096;

/// Why the console could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The file cannot be written.
    #[error("`console`: cannot open {}: {source}", casemate_foreign_text::value(.path))]
    File {
        /// Its path.
        path: String,
        /// The kernel's reason.
        #[source]
        source: std::io::Error,
    },
    /// No pseudo-terminal.
    #[error("`console`: cannot make a pseudo-terminal: {0}")]
    Pty(#[source] std::io::Error),
    /// Standard input or output is closed.
    #[error("`console`: standard input or output cannot be used: {0}")]
    Stdio(#[source] std::io::Error),
}

/// Bytes between the vmm process and the host.
#[derive(Debug)]
pub struct HostConsole {
    input: Option<OwnedFd>,
    output: OwnedFd,
    /// The terminal and its settings before ours.
    saved: Option<(OwnedFd, Termios)>,
    /// Our own hold on the pseudo-terminal's other side: without any holder it reports a hang-up for ever.
    other_side: Option<OwnedFd>,
    to_host: Pending,
    to_guest: Pending,
    /// Path of the pseudo-terminal, to be shown to the user.
    pub pty: Option<String>,
}

#[derive(Debug)]
struct Pending {
    bytes: [u8; CHUNK],
    start: usize,
    end: usize,
}

impl Pending {
    const EMPTY: Self = Self { bytes: [0; CHUNK], start: 0, end: 0 };

    fn is_empty(&self) -> bool {
        self.start == self.end
    }
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }
    fn filled(&mut self, len: usize) {
        (self.start, self.end) = (0, len.min(CHUNK));
    }
    fn gone(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }
    fn clear(&mut self) {
        self.start = self.end;
    }
}

impl HostConsole {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub fn open(console: &Console) -> Result<Self, ConsoleError> {
        match console {
            Console::Stdio => {
                let output = dup(rustix::stdio::stdout()).map_err(ConsoleError::Stdio)?;
                let input = dup(rustix::stdio::stdin()).ok().filter(|fd| may_read(fd.as_fd()));
                let saved = input.as_ref().and_then(|fd| quiet_terminal(fd.as_fd()));
                let mut console = Self::new(input, output);
                console.saved = saved;
                Ok(console)
            }
            Console::File(path) => Ok(Self::new(None, open_file(path)?)),
            Console::Pty => {
                let wrong = |e: Errno| ConsoleError::Pty(e.into());
                let (master, other_side, name) = open_pty().map_err(wrong)?;
                let output = master.try_clone().map_err(ConsoleError::Pty)?;
                let mut console = Self::new(Some(master), output);
                (console.other_side, console.pty) = (Some(other_side), Some(name));
                Ok(console)
            }
        }
    }

    fn new(input: Option<OwnedFd>, output: OwnedFd) -> Self {
        let (to_host, to_guest) = (Pending::EMPTY, Pending::EMPTY);
        Self { input, output, saved: None, other_side: None, to_host, to_guest, pty: None }
    }

    /// Descriptors that are read, written, and set back at the end; each at most one.
    #[must_use]
    pub fn raw_fds(&self) -> [Option<RawFd>; 3] {
        let terminal = self.saved.as_ref().map(|(terminal, _)| terminal.as_raw_fd());
        let input = self.input.as_ref().map(AsRawFd::as_raw_fd);
        [input, Some(self.output.as_raw_fd()), terminal]
    }

    /// What to poll: the guest's socket, the input and the output, each only when it can lead to progress.
    pub fn poll_fds<'a>(&'a self, guest: BorrowedFd<'a>) -> [PollFd<'a>; 3] {
        let mut guest_events = PollFlags::empty();
        guest_events.set(PollFlags::IN, self.to_host.is_empty());
        guest_events.set(PollFlags::OUT, !self.to_guest.is_empty());
        let input_events =
            if self.to_guest.is_empty() { PollFlags::IN } else { PollFlags::empty() };
        let output_events =
            if self.to_host.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let output = PollFd::from_borrowed_fd(self.output.as_fd(), output_events);
        let input = match &self.input {
            Some(input) => PollFd::from_borrowed_fd(input.as_fd(), input_events),
            // Nothing to wait for: the output without events stands in.
            None => PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::empty()),
        };
        [PollFd::from_borrowed_fd(guest, guest_events), input, output]
    }

    /// Moves what can be moved after a poll. `[guest, input, output]` are the revents of [`Self::poll_fds`].
    pub fn turn(&mut self, guest: BorrowedFd<'_>, revents: [PollFlags; 3]) {
        let [from_guest, from_input, to_output] = revents;
        if from_guest.intersects(PollFlags::IN) && self.to_host.is_empty() {
            self.receive(guest);
        }
        if to_output.intersects(PollFlags::OUT | PollFlags::ERR | PollFlags::HUP) {
            self.write_some();
        }
        if from_input.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.read_input();
        }
        if !self.to_guest.is_empty() {
            match send(guest, self.to_guest.waiting(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => self.to_guest.gone(sent),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.to_guest.clear(),
            }
        }
    }

    /// Takes the last bytes after the guest has stopped, until `guest` has no more. A slow reader is waited for until
    /// `give_up` is readable; without `give_up`, not at all.
    pub fn drain(&mut self, guest: BorrowedFd<'_>, give_up: Option<BorrowedFd<'_>>) {
        loop {
            while !self.to_host.is_empty() {
                if !self.may_write(give_up) {
                    return;
                }
                self.write_some();
            }
            if !self.receive(guest) {
                return;
            }
        }
    }

    /// Whether the output takes bytes, now or before `give_up` is readable.
    fn may_write(&self, give_up: Option<BorrowedFd<'_>>) -> bool {
        let now = Timespec::default();
        let timeout = if give_up.is_some() { None } else { Some(&now) };
        let other = give_up.unwrap_or_else(|| self.output.as_fd());
        let events = if give_up.is_some() { PollFlags::IN } else { PollFlags::empty() };
        loop {
            let output = PollFd::from_borrowed_fd(self.output.as_fd(), PollFlags::OUT);
            let mut fds = [output, PollFd::from_borrowed_fd(other, events)];
            match poll(&mut fds, timeout) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) => {
                    let [output, other] = fds.map(|fd| fd.revents());
                    return !output.is_empty() && !other.intersects(PollFlags::IN);
                }
            }
        }
    }

    fn receive(&mut self, guest: BorrowedFd<'_>) -> bool {
        match recv(guest, &mut self.to_host.bytes[..], RecvFlags::DONTWAIT) {
            Ok((len, _)) => {
                self.to_host.filled(len);
                len > 0
            }
            Err(_) => false,
        }
    }

    fn write_some(&mut self) {
        match rustix::io::write(&self.output, self.to_host.waiting()) {
            Ok(written) => self.to_host.gone(written),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The reader of our output is gone; the guest goes on.
            Err(_) => self.to_host.clear(),
        }
    }

    fn read_input(&mut self) {
        let Some(input) = &self.input else { return };
        if !self.to_guest.is_empty() {
            return;
        }
        match rustix::io::read(input, &mut self.to_guest.bytes[..]) {
            Ok(0) => self.input = None,
            Ok(len) => self.to_guest.filled(len),
            // EIO: nobody has the pseudo-terminal open at present.
            Err(Errno::INTR | Errno::AGAIN | Errno::IO) => {}
            Err(_) => self.input = None,
        }
    }
}

impl Drop for HostConsole {
    fn drop(&mut self) {
        if let Some((terminal, saved)) = &self.saved {
            let _ = tcsetattr(terminal, OptionalActions::Now, saved);
        }
    }
}

fn dup(fd: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

/// Turns off line editing and echo of a terminal; gives its settings before.
fn quiet_terminal(terminal: BorrowedFd<'_>) -> Option<(OwnedFd, Termios)> {
    if !isatty(terminal) {
        return None;
    }
    let saved = tcgetattr(terminal).ok()?;
    let mut quiet = saved.clone();
    quiet.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    tcsetattr(terminal, OptionalActions::Now, &quiet).ok()?;
    Some((dup(terminal).ok()?, saved))
}

fn open_file(path: &Path) -> Result<OwnedFd, ConsoleError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))
        .map_err(|e| ConsoleError::File { path: path.display().to_string(), source: e.into() })
}

/// A process in the background of a terminal would be stopped at its first read.
fn may_read(input: BorrowedFd<'_>) -> bool {
    !isatty(input)
        || rustix::termios::tcgetpgrp(input).is_ok_and(|pgrp| pgrp == rustix::process::getpgrp())
}

/// Both sides of a new pseudo-terminal, raw, and its path.
fn open_pty() -> Result<(OwnedFd, OwnedFd, String), Errno> {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other_side = rustix::fs::open(&name, flags, Mode::empty())?;
    // Raw: an echo would send the guest's output back to it as input.
    let mut settings = tcgetattr(&other_side)?;
    settings.make_raw();
    tcsetattr(&other_side, OptionalActions::Now, &settings)?;
    rustix::fs::fcntl_setfl(&master, OFlags::NONBLOCK | OFlags::RDWR)?;
    Ok((master, other_side, name))
}
