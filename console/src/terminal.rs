//! The user's terminal: given to the guest while this program runs in its foreground, as it was
//! otherwise.

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process};
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, Once, PoisonError};

/// What a panic has to set back: a panic of the released program ends it without unwinding.
#[derive(Debug)]
struct InUse {
    fd: Arc<OwnedFd>,
    before: Termios,
    entered: bool,
}

static IN_USE: Mutex<Option<InUse>> = Mutex::new(None);

/// A terminal. Dropped, it has its settings back.
#[derive(Debug)]
pub struct Terminal {
    fd: Arc<OwnedFd>,
    before: Termios,
    ours: Termios,
    /// Whether our settings are in force.
    entered: bool,
    gone: bool,
    process: Pid,
    group: Pid,
}

impl Terminal {
    /// The terminal behind a descriptor; None when there is none. Nothing is changed yet.
    #[must_use]
    pub fn of(fd: BorrowedFd<'_>) -> Option<Self> {
        if !isatty(fd) {
            return None;
        }
        let before = tcgetattr(fd).ok()?;
        let mut ours = before.clone();
        // Keys come one by one, unseen; the line end stays CR, Ctrl-S, Ctrl-Q, Ctrl-V and Ctrl-O
        // are keys. ISIG stays: Ctrl-C, Ctrl-Z and Ctrl-\ work whatever this program is doing.
        // Output is left alone.
        ours.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::IEXTEN);
        ours.input_modes.remove(
            InputModes::ICRNL
                | InputModes::INLCR
                | InputModes::IGNCR
                | InputModes::IXON
                | InputModes::IXOFF
                | InputModes::ISTRIP,
        );
        let fd = Arc::new(fd.try_clone_to_owned().ok()?);
        restore_when_panicking();
        let in_use = InUse { fd: fd.clone(), before: before.clone(), entered: false };
        *IN_USE.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_use);
        let (process, group) = (getpid(), getpgrp());
        Some(Self { fd, before, ours, entered: false, gone: false, process, group })
    }

    /// Whether this program is in the terminal's foreground: who is not is stopped when it reads.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        !self.gone && tcgetpgrp(&self.fd).is_ok_and(|group| group == self.group)
    }

    /// Whether the guest has the terminal.
    #[must_use]
    pub const fn is_entered(&self) -> bool {
        self.entered
    }

    /// Gives it to the guest if this program is in its foreground.
    pub fn enter(&mut self) {
        if self.entered || !self.is_ours() {
            return;
        }
        // First said, then done: a panic between the two sets back what is as it was.
        set_entered(true);
        self.entered = tcsetattr(&self.fd, OptionalActions::Now, &self.ours).is_ok();
    }

    /// Sets it back. In the background it is not touched: whoever took the foreground has set it,
    /// and this program would be stopped.
    pub fn leave(&mut self) {
        if std::mem::take(&mut self.entered) && self.is_ours() {
            let _ = tcsetattr(&self.fd, OptionalActions::Now, &self.before);
        }
        set_entered(false);
    }

    /// Sets it back and does not use it any more.
    pub fn hang_up(&mut self) {
        self.leave();
        self.gone = true;
    }

    /// Stops this program, as Ctrl-Z would have done, and goes on when it is continued.
    pub fn stop(&mut self) {
        self.leave();
        stop_process(self.process);
        self.enter();
    }
}

/// Stops a process: this one.
pub(crate) fn stop_process(process: Pid) {
    let _ = kill_process(process, Signal::STOP);
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.leave();
    }
}

fn set_entered(entered: bool) {
    if let Some(in_use) = IN_USE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
        in_use.entered = entered;
    }
}

fn restore_when_panicking() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // Not waited for: the panic may have come while it was held.
            if let Ok(in_use) = IN_USE.try_lock()
                && let Some(InUse { fd, before, entered: true }) = in_use.as_ref()
            {
                let _ = tcsetattr(fd, OptionalActions::Now, before);
            }
            other(panic);
        }));
    });
}
