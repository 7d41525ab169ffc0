//! The one thread of the vmm process that talks to device processes, and may wait for one.
//!
//! A vCPU that resets or activates a device leaves a request and goes on; this thread carries it
//! out, and the driver reads of its end in the status register. A device that hangs keeps this
//! thread, and with it the resets of other devices, for as long as a back end's patience lasts;
//! then the VM ends, since nobody knows what such a device still does with guest memory.

use super::stop_slot::StopSlot;
use crate::devices::VirtioPci;
use crate::event::Event;
use crate::exits::{DeviceFault, Stop};
use crate::vhost_user::{BackEnd, BackEndError, Heard};
use casemate_device_transport::Request;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long the end of a device process's socket is left to the supervisor, which knows more: how
/// the process died. One that closed its socket and lives is told of by this process.
const FOR_THE_SUPERVISOR: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// A device as its thread has it.
#[derive(Debug)]
pub(super) struct Served {
    number: u8,
    function: Arc<Mutex<VirtioPci>>,
    back_end: BackEnd,
    /// The device signals it when a ring makes no sense.
    error: Event,
}

impl Served {
    pub(super) const fn new(
        number: u8,
        function: Arc<Mutex<VirtioPci>>,
        back_end: BackEnd,
        error: Event,
    ) -> Self {
        Self { number, function, back_end, error }
    }

    /// The function, for the guest's buses.
    pub(super) fn shared_function(&self) -> Arc<Mutex<VirtioPci>> {
        self.function.clone()
    }

    fn function(&self) -> MutexGuard<'_, VirtioPci> {
        self.function.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what the driver asked for; the function is not held meanwhile, so that its registers
    /// answer.
    fn serve_requests(&mut self) -> Result<(), DeviceFault> {
        loop {
            let request = self.function().take_request();
            match request {
                None => return Ok(()),
                Some(Request::Activate(ticket, activation)) => {
                    let done = self.back_end.activate(&activation);
                    // A refusal is a device that does not run, which its driver can reset; not so
                    // one that cannot be talked to.
                    let refused = matches!(done, Err(BackEndError::Refused(_)));
                    self.function().activated(ticket, done.is_ok());
                    if !refused {
                        done.map_err(|e| fault(&e))?;
                    }
                }
                Some(Request::Reset(ticket)) => {
                    self.back_end.stop().map_err(|e| fault(&e))?;
                    self.function().stopped(ticket);
                }
            }
        }
    }

    /// Looks at what came without being asked for.
    fn listen(&self) -> Result<(), DeviceFault> {
        if self.error.take() > 0 {
            self.function().broke();
        }
        match self.back_end.heard() {
            Heard::Nothing => Ok(()),
            Heard::Closed => Err(DeviceFault::Closed),
            Heard::Unasked => Err(DeviceFault::Breach),
        }
    }
}

const fn fault(error: &BackEndError) -> DeviceFault {
    match error {
        BackEndError::Closed => DeviceFault::Closed,
        BackEndError::Silent(_) => DeviceFault::Silent,
        _ => DeviceFault::Breach,
    }
}

/// Serves devices until one of them fails, which ends the VM.
pub(super) fn serve(devices: &mut [Served], wake: &Event, stop: &StopSlot) {
    loop {
        let failed = devices.iter_mut().find_map(|device| {
            let done = device.serve_requests().and_then(|()| device.listen());
            done.err().map(|fault| (device.number, fault))
        });
        if let Some((device, fault)) = failed {
            if fault == DeviceFault::Closed {
                let _ = poll(&mut [], Some(&FOR_THE_SUPERVISOR));
            }
            return stop.set(Stop::DeviceFailed { device, fault });
        }
        let mut fds = vec![PollFd::new(wake, PollFlags::IN)];
        for device in devices.iter() {
            let socket = device.back_end.as_fd();
            fds.push(PollFd::from_borrowed_fd(socket, PollFlags::IN));
            fds.push(PollFd::new(&device.error, PollFlags::IN));
        }
        let _ = poll(&mut fds, None);
        let _ = wake.take();
    }
}
