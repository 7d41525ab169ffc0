//! The vmm process: sets the VM up, confines itself, waits for the plan, loads it, locks itself,
//! runs the guest, passes bytes and events on.
//!
//! It owns /dev/kvm's VM, guest memory and two sockets: control (messages of [`super::protocol`])
//! and console (bytes). After the lock it makes the calls of [`super::profile::VMM`] and no others:
//! no clock, no allocation that grows the heap, no file.

use super::engine::{Ends, Engine, EngineError, Ready, SetUp};
pub use super::handover::VmmInput;
use super::handover::{Wish, wait};
use super::orders::Order;
use super::profile;
use super::protocol::{FromVmm, MESSAGE_SIZE, Phase, ToVmm};
use super::recorder::tally::Tally;
use crate::event::Event;
use crate::exits::{DeviceFault, Events, Note, PageRule, Stop, VcpuStep};
use crate::launch::LaunchPlan;
use casemate_sandbox::{Action, Born, FdTable, SandboxError, Setup, exit, freeze_heap};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Once, PoisonError};
use std::time::Instant;

/// Exit status of the process after it has told its supervisor how the VM ended.
pub const TOLD: i32 = 0;
/// Exit status when the launch failed, after telling why.
pub const FAILED: i32 = 1;

/// Sends messages; shared by all threads. A packet that does not fit at once is lost: a vCPU never
/// waits.
#[derive(Debug, Clone)]
struct Control {
    socket: Arc<OwnedFd>,
    /// What the policy denied so far. A message of it that is lost is made good by the next one.
    denied: Arc<Tally>,
    /// Done once it is told that the guest begins.
    began: Arc<Once>,
}

impl Control {
    /// Of the supervisor's socket.
    fn new(socket: OwnedFd) -> Self {
        Self { socket: Arc::new(socket), denied: Arc::default(), began: Arc::new(Once::new()) }
    }

    /// Tells that the process is locked and the guest begins, once, before anything else of the
    /// guest is told: by whoever has something to tell first.
    ///
    /// It is not told before the guest begins. A message wakes the supervisor, on this processor
    /// as likely as not (`wake_affine`, kernel/sched/fair.c), which then does its own part of the
    /// lock while the guest waits: 0.4 ms of a start that was traced with two processors.
    fn tell_beginning(&self) {
        self.began.call_once(|| {
            self.tell(&FromVmm::Phase(Phase::Locked));
            self.tell(&FromVmm::Phase(Phase::FirstInstruction));
        });
    }

    /// Tells something of a guest that runs.
    fn tell_of_guest(&self, message: &FromVmm) {
        self.tell_beginning();
        self.tell(message);
    }

    fn tell(&self, message: &FromVmm) {
        self.has_told(message);
    }

    /// Whether it fits.
    fn has_told(&self, message: &FromVmm) -> bool {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        send(&self.socket, &message.encode(), flags).is_ok()
    }

    /// Waits for room: for the last words only, when no vCPU runs.
    fn tell_surely(&self, message: &FromVmm) {
        while send(&self.socket, &message.encode(), SendFlags::NOSIGNAL) == Err(Errno::INTR) {}
    }
}

impl Events for Control {
    fn mark(&self, step: u8) {
        self.tell_of_guest(&FromVmm::Mark(step));
    }
    fn note(&self, note: Note) {
        self.tell_of_guest(&FromVmm::Note(note));
    }
    fn denied(&self, rule: PageRule, pages: u64) {
        if let Some(denied) = self.denied.add(rule, pages) {
            self.tell_of_guest(&FromVmm::Denied(denied));
        }
    }
    fn vcpu(&self, index: u32, step: VcpuStep) {
        self.tell_of_guest(&FromVmm::Vcpu { index, step });
    }
    fn device_lost(&self, device: u8, second: bool, fault: DeviceFault) -> bool {
        self.has_told(&FromVmm::DeviceLost { device, second, fault })
    }
    fn device_taken_over(&self, device: u8) {
        self.tell(&FromVmm::DeviceTakenOver { device });
    }
}

/// Why the process cannot run the guest.
#[derive(Debug, thiserror::Error)]
enum VmmError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// What was handed over is no plan.
    #[error("the vmm process does not understand its supervisor: are both of one version?")]
    Nonsense,
}

/// The body of the process.
pub fn body(input: VmmInput, born: Born) -> i32 {
    body_with(input, born, || ())
}

/// The same, with something more that is done between the lock and the guest's first instruction.
/// For tests: what an attacker who took over the process would try.
pub fn body_with(input: VmmInput, born: Born, once_locked: impl FnOnce()) -> i32 {
    let VmmInput { host, control, console, shape, plan, devices } = input;
    let control = Control::new(control);
    control.tell(&FromVmm::Phase(Phase::Born));
    let set_up = || SetUp::with_devices(host, &shape, devices);
    let ready = match prepare(set_up, plan, &control, &console, born) {
        Ok(Some(ready)) => ready,
        // There is to be no guest, and nobody to be told.
        Ok(None) => exit(TOLD),
        Err(e) => {
            control.tell_surely(&FromVmm::Failed(e.to_string()));
            return FAILED;
        }
    };
    once_locked();
    let mut pump = Pump::new(ready.ends.input_room());
    ready.go();
    control.tell_beginning();
    let stop = pump.until_stopped(&ready, &control, &console);
    if let Some(stop) = stop {
        control.denied.all().for_each(|denied| control.tell_surely(&FromVmm::Denied(denied)));
        tell_totals(&ready, &control);
        control.tell_surely(&FromVmm::Stopped(stop));
    }
    exit(TOLD)
}

/// What was counted, for an operator's log: lost when it does not fit at once.
fn tell_totals(ready: &Ready, control: &Control) {
    for (vcpu, totals) in ready.exits() {
        control.tell(&FromVmm::Exits { vcpu, totals });
    }
    if let Some(totals) = ready.page_states() {
        control.tell(&FromVmm::PageStates(totals));
    }
}

/// Heap beyond what is used when the process locks itself: steady state allocates next to nothing.
const HEAP: usize = 256 * 1024;

/// Builds the VM and locks the process; None when there is to be no guest.
///
/// The policy may not have answered yet when this begins. Until it has, the process makes what KVM
/// makes from numbers alone, then confines itself: from there on nothing that it needs has to be
/// opened, and the bytes of a guest, which its owner or its buyer may have made up, meet a process
/// that has lost all but the system calls of its launch.
fn prepare(
    set_up: impl FnOnce() -> Result<SetUp, EngineError>,
    plan: OwnedFd,
    control: &Control,
    console: &OwnedFd,
    born: Born,
) -> Result<Option<Ready>, VmmError> {
    let set_up = set_up()?;
    let setup = born.confine()?;
    control.tell(&FromVmm::Phase(Phase::Vcpus));
    let (plan, supported) = match wait(&control.socket, plan) {
        Wish::Launch(plan, supported) => (*plan, supported),
        Wish::End => return Ok(None),
        Wish::Nonsense => return Err(VmmError::Nonsense),
    };
    supported.into_iter().for_each(|supported| set_up.know_supported(supported));
    let engine = set_up.load(&plan, Box::new(control.clone()))?;
    control.tell(&FromVmm::Phase(Phase::Memory));
    launch(engine, plan, setup, control, console).map(Some)
}

/// Launches the guest and locks the process.
fn launch(
    engine: Engine,
    plan: LaunchPlan,
    setup: Setup,
    control: &Control,
    console: &OwnedFd,
) -> Result<Ready, VmmError> {
    let before = Instant::now();
    let pages = engine.launch(&plan)?;
    if pages > 0 {
        let micros = u64::try_from(before.elapsed().as_micros()).unwrap_or(u64::MAX);
        control.tell(&FromVmm::Launched { pages, micros });
    }
    // The plan holds the file with kernel and initrd: unmap it before the lock forbids it.
    drop(plan);
    freeze_heap(HEAP)?;
    let (vcpus, page_state_fds) = (engine.vcpu_fds(), engine.page_state_fds());
    let devices = engine.device_fds();
    // The VM's own descriptor has no rule in a plain VM, yet stays: where it is closed, KVM takes
    // the interrupt lines from the guest (`kvm_vm_release`). /dev/sev is named to the firmware by
    // its number as long as the VM lives.
    let needed = engine.needed_fds();
    let threads = engine.begin_threads()?;
    let ends = threads.ends();
    let raw = |event: &Event| event.as_fd().as_raw_fd();
    let (taken, signalled) = (ends.taken().map(raw), ends.signalled().map(raw));
    let (vm, memory) = page_state_fds;
    let profile = if vm.is_empty() { &profile::VMM } else { &profile::VMM_SNP };
    let sockets = [control.socket.as_raw_fd(), console.as_raw_fd()];
    let fds = FdTable::new()
        .with_raw(profile::VCPUS, vcpus)
        .with_raw(profile::EVENTS, taken)
        .with_raw(profile::EVENTS, devices.taken)
        .with_raw(profile::SIGNALS, signalled)
        .with_raw(profile::SIGNALS, devices.signalled)
        .with_raw(profile::DEVICES, devices.sockets)
        .with_raw(profile::FOREIGN, devices.foreign)
        .with_raw(profile::ROUTING, devices.routing)
        .with_raw(profile::SOCKETS, sockets)
        .with_raw(profile::VM, vm)
        .with_raw(profile::MEMORY, memory);
    // /dev/kvm, and the file behind a plain VM's memory: what is mapped needs no descriptor.
    setup.close_unnamed(&fds, &needed)?;
    let filter = setup.ready_to_lock(profile, &fds, Action::Kill)?;
    let ready = threads.begun();
    filter.lock()?;
    Ok(ready)
}

impl Ends {
    /// The events that the locked process takes.
    fn taken(&self) -> [&Event; 3] {
        [&self.output_ready, &self.input_drained, &self.stopped]
    }

    /// The events that it signals, all of them: vCPUs the first two, whoever stops the VM the last.
    fn signalled(&self) -> [&Event; 5] {
        let Self { output_ready, input_drained, power_button, stopped, serial_line, .. } = self;
        [output_ready, input_drained, power_button, stopped, serial_line]
    }

    /// Input bytes that the serial port can take now.
    fn input_room(&self) -> usize {
        self.uart.lock().unwrap_or_else(PoisonError::into_inner).room()
    }
}

/// Bytes moved at a time.
const CHUNK: usize = 4096;

/// Moves console bytes both ways and serves control messages until the VM stops. Nothing in it
/// allocates.
struct Pump {
    out: [u8; CHUNK],
    out_start: usize,
    out_end: usize,
    /// The serial port's FIFO is small; this much is read for it at a time.
    input: [u8; 64],
    input_open: bool,
    room: usize,
}

/// What a round of polling saw.
struct Woken {
    control: bool,
    console_in: bool,
    output_ready: bool,
    drained: bool,
    stopped: bool,
}

impl Pump {
    fn new(room: usize) -> Self {
        let (out, input) = ([0; CHUNK], [0; 64]);
        Self { out, out_start: 0, out_end: 0, input, input_open: true, room }
    }

    /// None when the supervisor is gone.
    fn until_stopped(
        &mut self,
        ready: &Ready,
        control: &Control,
        console: &OwnedFd,
    ) -> Option<Stop> {
        let ends = &ready.ends;
        loop {
            let blocked = !self.flush(ends, console.as_fd(), SendFlags::DONTWAIT);
            let woken = self.wait(ends, control.socket.as_fd(), console.as_fd(), blocked)?;
            if woken.stopped {
                let _ = ends.stopped.take();
                // Only what was written before the end is sent, however long that takes: the
                // supervisor, which has a clock, ends the wait by taking or by killing.
                ends.console.close();
                self.flush(ends, console.as_fd(), SendFlags::empty());
                return ready.stop_reason();
            }
            if woken.output_ready {
                let _ = ends.output_ready.take();
            }
            if woken.drained {
                let _ = ends.input_drained.take();
                self.room = ends.input_room();
            }
            if woken.console_in {
                self.take_input(ends, console.as_fd());
            }
            if woken.control {
                serve(ends, control)?;
            }
        }
    }

    /// Sends what the guest has written; false when the socket is full.
    fn flush(&mut self, ends: &Ends, console: BorrowedFd<'_>, flags: SendFlags) -> bool {
        loop {
            if self.out_start == self.out_end {
                let taken = ends.console.take(&mut self.out);
                (self.out_start, self.out_end) = (0, taken);
                if taken == 0 {
                    return true;
                }
            }
            let Some(bytes) = self.out.get(self.out_start..self.out_end) else { return true };
            match send(console, bytes, flags | SendFlags::NOSIGNAL) {
                Ok(sent) => self.out_start = (self.out_start + sent).min(self.out_end),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return false,
                // Nobody listens any more: the bytes have nowhere to go.
                Err(_) => self.out_start = self.out_end,
            }
        }
    }

    fn wait(
        &self,
        ends: &Ends,
        control: BorrowedFd<'_>,
        console: BorrowedFd<'_>,
        blocked: bool,
    ) -> Option<Woken> {
        let mut console_events = PollFlags::empty();
        console_events.set(PollFlags::IN, self.input_open && self.room > 0);
        console_events.set(PollFlags::OUT, blocked);
        // More output changes nothing while the socket is full.
        let output_events = if blocked { PollFlags::empty() } else { PollFlags::IN };
        let mut fds = [
            PollFd::from_borrowed_fd(control, PollFlags::IN),
            PollFd::from_borrowed_fd(console, console_events),
            PollFd::new(&ends.output_ready, output_events),
            PollFd::new(&ends.input_drained, PollFlags::IN),
            PollFd::new(&ends.stopped, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        let [control, console, output, drained, stopped] = fds;
        let readable = |fd: &PollFd<'_>| fd.revents().intersects(PollFlags::IN);
        if control.revents().intersects(PollFlags::HUP) && !readable(&control) {
            return None;
        }
        Some(Woken {
            control: readable(&control),
            console_in: readable(&console) && self.input_open,
            output_ready: readable(&output),
            drained: readable(&drained),
            stopped: readable(&stopped),
        })
    }

    fn take_input(&mut self, ends: &Ends, console: BorrowedFd<'_>) {
        let room = self.room.min(self.input.len());
        let Some(buffer) = self.input.get_mut(..room) else { return };
        match recv(console, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((0, _)) => self.input_open = false,
            Ok((len, _)) => {
                let mut uart = ends.uart.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(bytes) = buffer.get(..len) {
                    uart.input(bytes);
                }
                self.room = uart.room();
            }
            Err(_) => {}
        }
    }
}

/// Serves one control message; None when the supervisor is gone or talks nonsense.
fn serve(ends: &Ends, control: &Control) -> Option<()> {
    let mut packet = [0; MESSAGE_SIZE];
    match recv(&control.socket, &mut packet[..], RecvFlags::DONTWAIT) {
        Ok((len, _)) if len > 0 => {
            match ToVmm::decode(packet.get(..len)?).ok()? {
                ToVmm::PowerButton => ends.power_button.signal(),
                ToVmm::TakeOver { device } => ends.orders.give(device, Order::TakeOver),
                ToVmm::Keep { device } => ends.orders.give(device, Order::Keep),
                // It came, and comes once.
                ToVmm::Launch => return None,
            }
            Some(())
        }
        Ok(_) => None,
        Err(Errno::AGAIN | Errno::INTR) => Some(()),
        Err(_) => None,
    }
}
