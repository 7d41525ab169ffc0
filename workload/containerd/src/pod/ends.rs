//! How processes of a pod end, and the pod.

use super::Pod;
use crate::connection::Said;
use crate::process::{Key, Kind, Progress};
use crate::wire::now;
use casemate_agent::{Process, ToGuest};
use containerd_shim_protos::events::task::TaskExit;
use containerd_shim_protos::protobuf::MessageField;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// The status of what ended with its guest: that of a killed process.
const KILLED: u32 = 128 + 9;

impl Pod {
    /// What the guest says by itself, to its end.
    pub(super) fn listen(self: &Arc<Self>, said: &Receiver<Said>) {
        for said in said {
            match said {
                Said::Exited(process, status) => {
                    let pod = Arc::clone(self);
                    let end = move || pod.ended(&process, status);
                    // Each by itself: one whose output nobody reads holds up no other.
                    let spawned = std::thread::Builder::new().name("end".into()).spawn(end.clone());
                    if spawned.is_err() {
                        end();
                    }
                }
                Said::Log(line) => self.log.line("info", &format_args!("guest: {line}")),
                Said::Gone(why) => {
                    self.log.line("info", &format_args!("the guest is gone: {why}"));
                    break;
                }
            }
        }
        self.all_ended();
    }

    fn ended(&self, process: &Process, status: u32) {
        let found = {
            let entries = self.entries();
            let found = entries.iter().find(|(_, entry)| match &entry.kind {
                Kind::In(one) => one == process && entry.ended().is_none(),
                Kind::Sandbox => false,
            });
            found.map(|(key, entry)| (key.clone(), entry.copies.clone()))
        };
        let Some((key, _)) = found else { return };
        // An exec that ends at once may end before its start is told: its copies are there then.
        let copies = {
            let mut entries = self.entries();
            while entries.get(&key).is_some_and(|e| matches!(e.progress, Progress::Starting)) {
                entries = self.wait_changed(entries);
            }
            entries.get(&key).and_then(|entry| entry.copies.clone())
        };
        if let Some(copies) = copies {
            copies.finish();
        }
        self.set_ended(&key, status);
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
        for key in others.into_iter().chain(sandbox) {
            let copies = self.entries().get(&key).and_then(|entry| entry.copies.clone());
            if let Some(copies) = copies {
                copies.finish();
            }
            self.set_ended(&key, KILLED);
        }
    }

    /// Ends the guest: it is asked to end what runs, and then is no more.
    pub fn end_guest(&self) {
        if let Ok(bound) = self.bound() {
            let _ = bound.agent.done(ToGuest::Shutdown {});
            bound.guest.end();
        }
    }
}
