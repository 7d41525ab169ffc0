//! Signals that end this program while it writes what was sealed: not before that is removed.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_default};
use std::io::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the user wants an end. The first signal is noticed between two parts of a file; a second
/// one ends the program as it stands, where that takes too long.
#[derive(Debug)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Takes the signals over, for the rest of the program.
    pub(super) fn on_signals() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let ignored = casemate_files::ignored_signals();
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            // Who started this program so (nohup(1), a shell without job control) meant it.
            if ignored & (1 << (signal - 1)) != 0 {
                continue;
            }
            // In this order: the first signal finds the flag down and raises it.
            register_conditional_default(signal, stop.clone())?;
            register(signal, stop.clone())?;
        }
        Ok(Self(stop))
    }

    /// An error when a signal has come.
    pub(super) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::other("ended by a signal; what was written is removed"));
        }
        Ok(())
    }
}
