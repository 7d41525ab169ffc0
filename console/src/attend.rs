//! Stays with a running VM until it has ended: console, signals, keys, messages, timeline.

use super::host::{HostConsole, is_regular};
use super::keys::Command;
use super::loss::Loss;
use super::signals::{Request, Signals};
use super::terminal::stop_process;
use super::timeline::Timeline;
use casemate_foreign_text::line;
use casemate_hypervisor::vm::{Asked, End, Event, Happened, RunningVm};
use rustix::event::PollFlags;
use rustix::process::{Pid, getpid};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// What came of a VM.
#[derive(Debug)]
pub struct Attended {
    /// How it ended.
    pub end: End,
    /// What of its output was lost.
    pub loss: Option<Loss>,
}

/// Where this program's own messages go.
pub struct Messages<'a> {
    /// Gets lines for the user, without a line end; they go to standard error.
    /// They must not be waited for: nothing else happens meanwhile.
    pub say: &'a mut dyn FnMut(&str),
    /// The descriptor that they are written to.
    pub to: BorrowedFd<'a>,
    /// The descriptor of an operator's log, which is written to by whoever listens to events.
    pub log: Option<BorrowedFd<'a>>,
    /// A file that whoever asked cuts to its length when the VM has ended.
    pub results: Option<BorrowedFd<'a>>,
}

impl fmt::Debug for Messages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("log", &self.log).finish_non_exhaustive()
    }
}

struct Attending<'a> {
    vm: RunningVm,
    console: HostConsole,
    signals: &'a Signals,
    timeline: &'a mut Timeline,
    say: &'a mut dyn FnMut(&str),
    to: BorrowedFd<'a>,
    log: Option<BorrowedFd<'a>>,
    results: Option<BorrowedFd<'a>>,
    grace: Duration,
    asked: bool,
    /// Nobody waits for a reader any more.
    at_once: bool,
    /// Why waiting itself failed.
    broken: Option<String>,
    process: Pid,
    end: Option<End>,
}

/// Stays with `vm` until it has ended and its output is where it belongs, or lost. The process
/// locks itself as soon as the VM's processes have.
pub fn attend(
    vm: RunningVm,
    console: HostConsole,
    signals: &Signals,
    timeline: &mut Timeline,
    grace: Duration,
    messages: Messages<'_>,
) -> Attended {
    let Messages { say, to, log, results } = messages;
    let mut attending = Attending {
        vm,
        console,
        signals,
        timeline,
        say,
        to,
        log,
        results,
        grace,
        asked: false,
        at_once: false,
        broken: None,
        process: getpid(),
        end: None,
    };
    attending.begin();
    loop {
        while let Some(event) = attending.vm.next_event() {
            attending.take(event);
        }
        if attending.vm.has_ended() {
            if attending.at_once {
                attending.console.finish_now(attending.vm.console());
            }
            if attending.console.is_done() {
                break;
            }
        }
        attending.turn();
    }
    attending.finish()
}

impl Attending<'_> {
    fn begin(&mut self) {
        if let Some(terminal) = self.console.terminal() {
            terminal.enter();
        }
        if let Some(pty) = self.console.pty() {
            (self.say)(&format!("console at {pty}"));
        }
        if let Some(help) = self.console.help() {
            (self.say)(&help);
        }
    }

    /// Waits for something and deals with it.
    fn turn(&mut self) {
        let wants = self.console.wants();
        let mut outside = vec![(self.signals.as_fd(), PollFlags::IN)];
        outside.extend(wants.input.map(|fd| (fd, PollFlags::IN)));
        outside.extend(wants.output.map(|fd| (fd, PollFlags::OUT)));
        let (has_input, guest, until) = (wants.input.is_some(), wants.guest, wants.until);
        let ready = match self.vm.wait(guest, &outside, until) {
            Ok(ready) => ready,
            Err(e) => {
                self.broken = Some(format!("cannot wait for the VM: {e}"));
                self.at_once = true;
                return self.vm.kill();
            }
        };
        let mut seen = ready.outside.into_iter();
        if seen.next().is_some_and(|flags| flags.contains(PollFlags::IN)) {
            for request in self.signals.requests() {
                self.take_signal(request);
            }
        }
        let input_ready = has_input && seen.next().is_some_and(|flags| !flags.is_empty());
        let lost = self.console.loss().is_some();
        match self.console.turn(self.vm.console(), input_ready) {
            None => {}
            Some(Command::PowerButton) => self.ask_to_power_off(),
            Some(Command::End) => self.end_now(),
            Some(Command::Help) => {
                if let Some(help) = self.console.help() {
                    (self.say)(&help);
                }
            }
        }
        if let Some(loss) = self.console.loss().filter(|_| !lost) {
            let text = format!("from here on the guest's output is lost: {}", loss.cause);
            (self.say)(&text);
        }
    }

    fn take_signal(&mut self, request: Request) {
        match request {
            Request::PowerOff => self.ask_to_power_off(),
            Request::HangUp => {
                if let Some(terminal) = self.console.terminal() {
                    terminal.hang_up();
                }
                self.ask_to_power_off();
            }
            Request::Quit => self.end_now(),
            Request::Stop => match self.console.terminal() {
                Some(terminal) => terminal.stop(),
                None => stop_process(self.process),
            },
            Request::Continue => {
                if let Some(terminal) = self.console.terminal() {
                    terminal.enter();
                }
            }
        }
    }

    /// The first time asks the guest to power off; the second time ends it.
    fn ask_to_power_off(&mut self) {
        if self.asked || self.vm.has_ended() {
            return self.end_now();
        }
        self.asked = true;
        let text = format!(
            "asked the guest to power off; once more ends it at once, else it is ended in {:?}",
            self.grace
        );
        (self.say)(&text);
        self.vm.press_power_button();
    }

    /// Who ends a VM waits for no reader of its console either.
    fn end_now(&mut self) {
        self.at_once = true;
        self.vm.kill();
    }

    fn take(&mut self, event: Event) {
        let (at, text) = (event.at, event.what.to_string());
        match event.what {
            Happened::Reached(step) => self.timeline.record_at(at, step.to_string()),
            Happened::Confined(kind, report) => {
                for (layer, why) in report.missing() {
                    let why = line(why).at_most(200);
                    let text = format!("sandbox: {kind} runs without the layer {layer}: {why}");
                    self.timeline.record_at(at, text.clone());
                    (self.say)(&text);
                }
            }
            Happened::AllConfined => self.lock(),
            Happened::GuestSays(mark) => self.timeline.guest_says(at, mark.to_string()),
            Happened::LogRepaired(_) | Happened::Refused(..) | Happened::DeviceLost { .. } => {
                (self.say)(&text);
            }
            Happened::DeviceTakenOver { .. } | Happened::Limited { .. } => {
                self.timeline.record_at(at, text);
            }
            // As by a signal: whoever asks once more here ends it.
            Happened::Asked(how) => {
                self.asked |= how == Asked::PowerOff;
                (self.say)(&text);
            }
            Happened::Ended(end) => {
                self.timeline.record_at(at, "exit");
                // A time that is over is over for the reader of the console, too.
                self.at_once |= matches!(end, End::TimedOut(_) | End::GraceOver(_) | End::Killed);
                self.end = Some(end);
            }
        }
    }

    fn lock(&mut self) {
        let mut outside = self.console.outside();
        outside.files.extend(self.results);
        outside.inputs.push(self.signals.as_fd());
        // Panics are told on the usual one.
        outside.outputs.extend([rustix::stdio::stderr(), self.to]);
        if let Some(log) = self.log {
            outside.outputs.push(log);
            // Several VMs may append to one file, whose size is then not this one's doing. What one
            // VM can cause to be logged has a bound of its own.
            if is_regular(log) {
                outside.file_size = None;
            }
        }
        let locked = self.vm.lock_this_process(&outside);
        if let Err(e) = locked {
            self.at_once = true;
            self.vm.fail(e.to_string());
        }
    }

    fn finish(mut self) -> Attended {
        if let Some(terminal) = self.console.terminal() {
            terminal.leave();
        }
        match self.console.held_back() {
            0 => {}
            count => (self.say)(&format!(
                "the terminal did not get {count} control sequences of the guest, which could have acted \
                 on it: --console raw passes everything"
            )),
        }
        let loss = self.console.take_loss();
        let end = match (self.broken, self.end) {
            (Some(reason), _) => End::LaunchFailed(reason),
            (None, Some(end)) => end,
            (None, None) => End::Killed,
        };
        Attended { end, loss }
    }
}
