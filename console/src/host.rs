//! The host's side of the console: standard input and output, a file, or a pseudo-terminal.

use super::error::ConsoleError;
use super::file::BoundedFile;
use super::filter::Filter;
use super::keys::{Command, Key, Keys};
use super::loss::{Cause, Loss};
use super::output::{Output, Written};
use super::pending::{CHUNK, Pending};
use super::terminal::Terminal;
use casemate_files::Standard;
use casemate_hypervisor::config::{Console, ConsoleTo};
use casemate_hypervisor::vm::supervisor::{GuestConsole, Source};
use casemate_hypervisor::vm::{Moved, Outside};
use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcsetattr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Bytes between the guest and the host.
#[derive(Debug)]
pub struct HostConsole {
    input: Option<OwnedFd>,
    output: Output,
    terminal: Option<Terminal>,
    keys: Keys,
    /// One for each of the guest's consoles: what one has begun, the other does not go on with.
    filters: Option<[Filter; 2]>,
    /// Our own hold on the pseudo-terminal's other side: without any holder it reports a hang-up
    /// for ever.
    other_side: Option<OwnedFd>,
    pty: Option<String>,
    to_host: Pending,
    to_guest: Pending,
    /// The guest's side is closed: nothing comes any more.
    over: bool,
    wait: Option<Duration>,
    /// Since when bytes wait for the output without progress.
    stalled: Option<Instant>,
    loss: Option<Loss>,
}

/// What to poll for: of the guest's console, and of the host's descriptors.
#[derive(Debug)]
pub struct Wants<'a> {
    /// Of the guest's console.
    pub guest: PollFlags,
    /// Of the input; None when nothing is wanted of it.
    pub input: Option<BorrowedFd<'a>>,
    /// Of the output; None when nothing is wanted of it.
    pub output: Option<BorrowedFd<'a>>,
    /// When to come back at the latest.
    pub until: Option<Instant>,
}

/// How long a terminal in whose background this program runs is left alone: nothing tells when a
/// shell takes a running program to the foreground.
const BACKGROUND: Duration = Duration::from_secs(1);

impl HostConsole {
    /// Opens what the configuration names. A terminal is not changed yet.
    ///
    /// # Errors
    /// [`ConsoleError`].
    pub fn open(console: &Console) -> Result<Self, ConsoleError> {
        let mut opened = match &console.to {
            ConsoleTo::Stdio | ConsoleTo::Raw => {
                let output = Output::standard().map_err(ConsoleError::Stdio)?;
                let input = Standard::Input.not_waiting().ok();
                let mut opened = Self::new(input, output);
                opened.terminal = opened.input.as_ref().and_then(|fd| Terminal::of(fd.as_fd()));
                if opened.terminal.is_some() {
                    opened.keys = Keys::new(console.escape);
                }
                if console.to == ConsoleTo::Stdio && opened.output.is_terminal() {
                    let utf8 = locale_is_utf8();
                    opened.filters = Some([Filter::new(utf8), Filter::new(utf8)]);
                }
                opened
            }
            ConsoleTo::File(path) => {
                Self::new(None, Output::File(BoundedFile::open(path, console.limit)?))
            }
            ConsoleTo::Pty => {
                let wrong = |e: Errno| ConsoleError::Pty(e.into());
                let (master, other_side, name) = open_pty().map_err(wrong)?;
                let output = Output::Pty(master.try_clone().map_err(ConsoleError::Pty)?);
                let mut opened = Self::new(Some(master), output);
                (opened.other_side, opened.pty) = (Some(other_side), Some(name));
                opened
            }
        };
        opened.wait = console.wait;
        Ok(opened)
    }

    /// Over descriptors that do not wait, in place of those that a configuration names; no
    /// terminal.
    #[must_use]
    pub fn over(
        input: OwnedFd,
        output: OwnedFd,
        escape: Option<u8>,
        wait: Option<Duration>,
    ) -> Self {
        let console = Self::new(Some(input), Output::Standard(output));
        Self { keys: Keys::new(escape), wait, ..console }
    }

    /// The same, filtered as for a terminal.
    #[cfg(test)]
    pub(crate) fn filtered(self) -> Self {
        Self { filters: Some([Filter::new(true), Filter::new(true)]), ..self }
    }

    fn new(input: Option<OwnedFd>, output: Output) -> Self {
        Self {
            input,
            output,
            terminal: None,
            keys: Keys::new(None),
            filters: None,
            other_side: None,
            pty: None,
            to_host: Pending::EMPTY,
            to_guest: Pending::EMPTY,
            over: false,
            wait: None,
            stalled: None,
            loss: None,
        }
    }

    /// Path of the pseudo-terminal, to be shown to the user.
    #[must_use]
    pub fn pty(&self) -> Option<&str> {
        self.pty.as_deref()
    }

    /// Which keys a user at the terminal has; None without a terminal or escape key.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        self.keys.help()
    }

    /// The user's terminal.
    pub const fn terminal(&mut self) -> Option<&mut Terminal> {
        self.terminal.as_mut()
    }

    /// What was lost so far.
    #[must_use]
    pub const fn loss(&self) -> Option<&Loss> {
        self.loss.as_ref()
    }

    /// The same, at the end.
    pub const fn take_loss(&mut self) -> Option<Loss> {
        self.loss.take()
    }

    /// Sequences that the terminal did not get.
    #[must_use]
    pub fn held_back(&self) -> u64 {
        self.filters.iter().flatten().map(Filter::dropped).fold(0, u64::saturating_add)
    }

    /// What a lock must leave of this.
    #[must_use]
    pub fn outside(&self) -> Outside<'_> {
        let files = match &self.output {
            Output::File(file) => file.fds().to_vec(),
            Output::Standard(_) | Output::Pty(_) => Vec::new(),
        };
        Outside {
            inputs: self.input.iter().map(AsFd::as_fd).collect(),
            outputs: vec![self.output.as_fd()],
            terminal: self.terminal.as_ref().map(AsFd::as_fd),
            file_size: self.file_size(),
            files,
        }
    }

    /// Largest size of a file that this process has reason to write: the console's, and its own
    /// messages. A file as standard output is the user's, whose shell bounds it.
    fn file_size(&self) -> Option<u64> {
        let file = |fd: BorrowedFd<'_>| {
            let stat = rustix::fs::fstat(fd).ok()?;
            is_regular(fd).then(|| u64::try_from(stat.st_size).unwrap_or(0))
        };
        let limit = match &self.output {
            Output::File(file) => file.limit(),
            Output::Standard(fd) if file(fd.as_fd()).is_some() => return None,
            Output::Standard(_) | Output::Pty(_) => 0,
        };
        let messages =
            file(rustix::stdio::stderr()).map_or(0, |size| size.saturating_add(MESSAGES));
        Some(limit.max(messages))
    }

    /// What to wait for. Without room nothing is taken from the guest: that is the back-pressure.
    #[must_use]
    pub fn wants(&self) -> Wants<'_> {
        let mut guest = PollFlags::empty();
        let room = self.loss.is_some() || self.to_host.is_empty();
        guest.set(PollFlags::IN, !self.over && room);
        guest.set(PollFlags::OUT, !self.over && !self.to_guest.is_empty());
        let away = self.terminal.as_ref().is_some_and(|terminal| !terminal.is_entered());
        let input = self.input.as_ref().filter(|_| !away && self.to_guest.is_empty());
        let output = (!self.to_host.is_empty()).then(|| self.output.as_fd());
        let patience = self.wait.and_then(|wait| self.stalled?.checked_add(wait));
        let look = if away { Instant::now().checked_add(BACKGROUND) } else { None };
        let until = patience.into_iter().chain(look).min();
        Wants { guest, input: input.map(AsFd::as_fd), output, until }
    }

    /// Moves what can be moved; the command that a user has typed, if any.
    pub fn turn(&mut self, guest: &GuestConsole, input_ready: bool) -> Option<Command> {
        if let Some(terminal) = &mut self.terminal {
            terminal.enter();
        }
        self.take_output(guest);
        self.write_output();
        let command = if input_ready { self.read_input() } else { None };
        self.give_input(guest);
        command
    }

    /// Whether nothing of the guest's output waits any more.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.over && self.to_host.is_empty()
    }

    /// Writes what goes at once; the rest of the guest's output is lost.
    pub fn finish_now(&mut self, guest: &GuestConsole) {
        while !self.is_done() && self.loss.is_none() {
            let before = self.to_host.waiting().len();
            self.take_output(guest);
            self.write_output();
            let stuck = self.stalled.is_some();
            if stuck && self.to_host.waiting().len() == before && !self.to_host.is_empty() {
                self.lose(Cause::Ended);
            }
        }
        while !self.over {
            self.take_output(guest);
        }
    }

    fn take_output(&mut self, guest: &GuestConsole) {
        if self.over || (self.loss.is_none() && !self.to_host.is_empty()) {
            return;
        }
        let mut bytes = [0; CHUNK - Filter::SLACK];
        let (source, moved) = guest.read(&mut bytes);
        match moved {
            Moved::Bytes(len) => {
                let bytes = bytes.get(..len).unwrap_or(&[]);
                match (&mut self.loss, &mut self.filters) {
                    (Some(loss), _) => loss.bytes = loss.bytes.saturating_add(bytes.len() as u64),
                    (None, None) => {
                        for byte in bytes {
                            self.to_host.push(*byte);
                        }
                    }
                    (None, Some([serial, virtio])) => {
                        let filter = match source {
                            Source::Serial => serial,
                            Source::Virtio => virtio,
                        };
                        for byte in bytes {
                            for passed in filter.pass(*byte) {
                                self.to_host.push(*passed);
                            }
                        }
                    }
                }
            }
            Moved::NotNow => {}
            Moved::Over => self.over = true,
        }
    }

    /// Writes what goes now. A file that is being set aside takes nothing until that is done.
    fn write_output(&mut self) {
        if self.to_host.is_empty() {
            return;
        }
        match self.output.write(self.to_host.waiting()) {
            Written::Bytes(len) => {
                self.to_host.gone(len);
                self.stalled = None;
            }
            Written::Working => return self.stalled = None,
            Written::NotNow => {}
            Written::ReaderGone => return self.lose(Cause::ReaderGone),
            Written::Failed(error) => {
                return self.lose(Cause::CannotWrite { to: self.output.name(), error });
            }
        }
        if self.to_host.is_empty() {
            return;
        }
        let now = Instant::now();
        let since = *self.stalled.get_or_insert(now);
        if let Some(wait) = self.wait.filter(|wait| now.saturating_duration_since(since) >= *wait) {
            self.lose(Cause::TooSlow(wait));
        }
    }

    /// From here on everything is lost. A later byte would close a gap that nobody can see.
    fn lose(&mut self, cause: Cause) {
        let bytes = self.to_host.clear() as u64;
        self.stalled = None;
        self.loss.get_or_insert(Loss { cause, bytes: 0 }).bytes += bytes;
    }

    fn read_input(&mut self) -> Option<Command> {
        if !self.to_guest.is_empty() {
            return None;
        }
        let mut bytes = [0; CHUNK];
        match rustix::io::read(self.input.as_ref()?, &mut bytes[..]) {
            Ok(0) => self.input = None,
            Ok(len) => {
                let mut command = None;
                for byte in bytes.get(..len).unwrap_or(&[]) {
                    match self.keys.take(*byte) {
                        Key::Byte(byte) => {
                            self.to_guest.push(byte);
                        }
                        // Of several commands in one read the first counts, but for the end.
                        Key::Command(Command::End) => command = Some(Command::End),
                        Key::Command(other) => command = command.or(Some(other)),
                        Key::Begun => {}
                    }
                }
                return command;
            }
            // EIO: nobody has the pseudo-terminal open at present.
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(Errno::IO) if self.pty.is_some() => {}
            Err(_) => self.input = None,
        }
        None
    }

    fn give_input(&mut self, guest: &GuestConsole) {
        if self.to_guest.is_empty() {
            return;
        }
        match guest.write(self.to_guest.waiting()) {
            Moved::Bytes(len) => self.to_guest.gone(len),
            Moved::NotNow => {}
            Moved::Over => {
                self.to_guest.clear();
            }
        }
    }
}

/// Whether a descriptor is that of a regular file, which grows by what is written.
pub(crate) fn is_regular(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// Our own messages that a file as standard error can take after the lock.
const MESSAGES: u64 = 1 << 20;

/// Whether the user's locale, by which programs write to the terminal, is UTF-8 (locale(7)).
fn locale_is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    set.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
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
    debug_assert!(isatty(&other_side));
    Ok((master, other_side, name))
}
