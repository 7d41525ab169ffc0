//! How processes of a pod end, and the pod.

use super::Pod;
use crate::connection::Said;
use crate::process::{Key, Kind, Progress};
use crate::stdio::LAST;
use crate::wire::now;
use casemate_agent::{Process, ToGuest};
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::MessageField;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// The status of what ended with its guest: that of a killed process.
const KILLED: u32 = 128 + 9;
/// How long a guest may take to end what runs in it, before it is ended itself.
const SHUTDOWN: Duration = Duration::from_secs(10);
/// Most lines of one guest in the operator's log.
const MAX_LINES: u32 = 1000;

impl Pod {
    /// What the guest says by itself, to its end.
    pub(super) fn listen(self: &Arc<Self>, said: &Receiver<Said>) {
        let mut lines = 0;
        for said in said {
            match said {
                Said::Exited(process, status) => {
                    // Once for each: a guest that says it again makes nothing more of it.
                    let Some(key) = self.begins_to_end(&process) else { continue };
                    let pod = Arc::clone(self);
                    let end = move || pod.ended(&key, status);
                    // Each by itself: one whose output nobody reads holds up no other.
                    let spawned = std::thread::Builder::new().name("end".into()).spawn(end.clone());
                    if spawned.is_err() {
                        end();
                    }
                }
                Said::Log(line) => {
                    lines = u32::min(lines + 1, MAX_LINES + 1);
                    match lines {
                        ..MAX_LINES => self.log.line("info", &format_args!("guest: {line}")),
                        MAX_LINES => self.log.line("warning", &"guest: more lines, not shown"),
                        _ => {}
                    }
                }
                Said::Gone(why) => {
                    self.log.line("info", &format_args!("the guest is gone: {why}"));
                    break;
                }
            }
        }
        self.all_ended();
    }

    /// The process that the guest says has ended, if it is there and has not ended yet.
    fn begins_to_end(&self, process: &Process) -> Option<Key> {
        let mut entries = self.entries();
        let mut all = entries.iter_mut();
        let (key, entry) = all.find(|(_, entry)| match (&entry.kind, &entry.progress) {
            (Kind::In(one), Progress::Starting | Progress::Running) => {
                one == process && !entry.ending
            }
            _ => false,
        })?;
        entry.ending = true;
        Some(key.clone())
    }

    fn ended(&self, key: &Key, status: u32) {
        // An exec that ends at once may end before its start is told: its copies are there then.
        let copies = {
            let mut entries = self.entries();
            while entries.get(key).is_some_and(|e| matches!(e.progress, Progress::Starting)) {
                entries = self.wait_changed(entries);
            }
            entries.get(key).and_then(|entry| entry.copies.clone())
        };
        if let Some(copies) = copies {
            copies.finish(Instant::now() + LAST);
        }
        self.set_ended(key, status);
    }

    /// Notes an end and tells of it, once.
    pub fn set_ended(&self, key: &Key, status: u32) {
        let when = now();
        let started = {
            let mut entries = self.entries();
            let Some(entry) = entries.get_mut(key) else { return };
            if entry.ended().is_some() {
                return;
            }
            let started = !matches!(entry.progress, Progress::Created(_));
            entry.progress = Progress::Ended(status, when.clone());
            started
        };
        self.changed.notify_all();
        if !started {
            return;
        }
        let mut exit = TaskExit::new();
        exit.container_id.clone_from(&key.0);
        exit.id.clone_from(if key.1.is_empty() { &key.0 } else { &key.1 });
        exit.pid = self.pid();
        exit.exit_status = status;
        exit.exited_at = MessageField::some(when);
        self.events.tell(&exit);
    }

    /// The guest is gone, and everything in it.
    fn all_ended(&self) {
        if let Ok(bound) = self.bound() {
            bound.guest.end();
        }
        let keys: Vec<Key> = self.entries().keys().cloned().collect();
        // The pod itself last: what is in it ends before it does.
        let (sandbox, others): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| {
            self.entries().get(key).is_some_and(|entry| matches!(entry.kind, Kind::Sandbox))
        });
        // The same time for all: nothing of it comes any more but what is here.
        let end = Instant::now() + LAST;
        for key in others.into_iter().chain(sandbox) {
            let copies = self.entries().get(&key).and_then(|entry| entry.copies.clone());
            if let Some(copies) = copies {
                copies.finish(end);
            }
            self.set_ended(&key, KILLED);
        }
    }

    /// Ends the guest: it is asked to end what runs, and then is no more.
    pub fn end_guest(&self) {
        if let Ok(bound) = self.bound() {
            let _ = bound.agent.ask_within(ToGuest::Shutdown {}, SHUTDOWN);
            bound.guest.end();
        }
    }
}
