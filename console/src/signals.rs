//! Signals to the program, as something to poll.

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGXFSZ};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// SIGINT, SIGTERM: press the power button; the second time end the VM.
    PowerOff,
    /// SIGHUP: the terminal is gone. As [`Request::PowerOff`].
    HangUp,
    /// SIGQUIT: end the VM at once.
    Quit,
    /// SIGTSTP: stop this program, with the terminal as it was.
    Stop,
    /// SIGCONT: this program goes on, perhaps in the terminal's foreground.
    Continue,
}

const REQUESTS: [(i32, Request); 6] = [
    // What the terminal needs comes first: a request to end may come with the hang-up.
    (SIGHUP, Request::HangUp),
    (SIGCONT, Request::Continue),
    (SIGINT, Request::PowerOff),
    (SIGTERM, Request::PowerOff),
    (SIGQUIT, Request::Quit),
    (SIGTSTP, Request::Stop),
];

/// The signals of this process: a handler sets a flag and writes a byte.
#[derive(Debug)]
pub struct Signals {
    wakes: UnixStream,
    came: [(Request, Arc<AtomicBool>); 6],
}

impl Signals {
    /// Takes the signals over, for the rest of the process's life. SIGXFSZ is taken over, too: a
    /// write beyond the largest file then fails with EFBIG, which has words, instead of killing the
    /// program.
    ///
    /// # Errors
    /// The kernel's reason.
    pub fn take_over() -> io::Result<Self> {
        let (wakes, handlers) = UnixStream::pair()?;
        wakes.set_nonblocking(true)?;
        let came = REQUESTS.map(|(_, request)| (request, Arc::new(AtomicBool::new(false))));
        let ignored = casemate_files::ignored_signals();
        for ((signal, request), (_, flag)) in REQUESTS.iter().zip(&came) {
            // Who started this program with them ignored (nohup(1), a shell without job control)
            // meant it.
            let optional = matches!(request, Request::HangUp | Request::Quit | Request::Stop);
            if optional && ignored & (1 << (signal - 1)) != 0 {
                continue;
            }
            // In this order: who is woken finds the flag.
            signal_hook::flag::register(*signal, flag.clone())?;
            signal_hook::low_level::pipe::register(*signal, handlers.try_clone()?)?;
        }
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(Self { wakes, came })
    }

    /// What was asked for since last time. Signals of one kind that came together count once.
    pub fn requests(&self) -> impl Iterator<Item = Request> {
        let mut bytes = [0; 64];
        // By read(2), which the lock knows.
        while matches!(rustix::io::read(&self.wakes, &mut bytes), Ok(64)) {}
        let came = self.came.iter().filter(|(_, flag)| flag.swap(false, Ordering::AcqRel));
        came.map(|(request, _)| *request)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }
}
