//! The thread that answers heartbeats, whatever the others do.
//!
//! It is told of other limits, too, for the same reason: whoever sets them waits for no request.
//!
//! A thread of its own, because every other one may wait: the control thread for a queue whose
//! request is in the kernel, a queue's thread for storage, both longer than anybody can name. It
//! takes no lock for it, allocates nothing, and makes two calls. So no answer means that the
//! process as a whole does not run (it was stopped, or is out of the processor's reach), and an
//! answer tells the rest: see [`casemate_device_backend::Place`].

use crate::words::{TOLD, ToDevice, beat, send};
use casemate_device_backend::{Pulses, Throttle};
use rustix::io::{Errno, read};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Barrier};

/// Stack of the thread: two packets and a call.
const STACK: usize = 32 * 1024;

/// The heart of a process.
#[derive(Debug)]
pub(crate) struct Heart {
    control: Arc<OwnedFd>,
    pulses: Pulses,
    throttle: Option<Arc<Throttle>>,
}

impl Heart {
    /// Makes the thread, and waits until it has begun: its first steps need calls that the steady
    /// filter does not have.
    pub(crate) fn begin(
        control: Arc<OwnedFd>,
        pulses: Pulses,
        throttle: Option<Arc<Throttle>>,
    ) -> io::Result<()> {
        let heart = Self { control, pulses, throttle };
        let begun = Arc::new(Barrier::new(2));
        let has_begun = begun.clone();
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            has_begun.wait();
            heart.beat();
        })?;
        begun.wait();
        Ok(())
    }

    fn beat(&self) {
        let mut packet = [0; TOLD + 1];
        loop {
            let len = match read(&self.control, &mut packet) {
                Err(Errno::INTR) => continue,
                Ok(0) | Err(_) => break,
                Ok(len) => len,
            };
            match packet.get(..len).and_then(ToDevice::decode) {
                Some(ToDevice::Beat(number)) => {
                    let (answer, len) = beat(number, self.pulses.seen());
                    send(&self.control, answer.get(..len).unwrap_or(&[]));
                }
                Some(ToDevice::Limit(limits)) => {
                    self.throttle.iter().for_each(|throttle| throttle.set(limits));
                    self.pulses.look_again();
                }
                // Who watches says nothing else.
                None => {}
            }
        }
        // Nobody watches any more. The lock forbids what the end of a thread would do.
        loop {
            std::thread::park();
        }
    }
}
