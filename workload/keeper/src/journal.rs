//! The decision log as several threads write it: what waits when one of them begins to write goes
//! with it, in one write under one signature.
//!
//! An answer leaves when its decisions are on the disk. One that cannot be logged does not leave.

use casemate_policy::log::DecisionRecord;
use casemate_policy_log::{DecisionLog, LogError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// What became of records that were written together.
type Group = Arc<OnceLock<Result<(), String>>>;

#[derive(Debug)]
struct State {
    /// None while a thread writes.
    log: Option<DecisionLog>,
    waiting: Vec<DecisionRecord>,
    /// What will become of those.
    group: Group,
}

/// A decision log for several threads.
#[derive(Debug)]
pub(crate) struct Journal {
    state: Mutex<State>,
    written: Condvar,
}

impl Journal {
    pub(crate) fn new(log: DecisionLog) -> Self {
        let state = State { log: Some(log), waiting: Vec::new(), group: Group::default() };
        Self { state: Mutex::new(state), written: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes decisions, and returns when they are on the disk.
    ///
    /// # Errors
    /// Why they are not, or may not be: then nothing is done that was decided.
    pub(crate) fn write(&self, records: Vec<DecisionRecord>) -> Result<(), String> {
        let mut state = self.lock();
        state.waiting.extend(records);
        let group = state.group.clone();
        loop {
            if let Some(result) = group.get() {
                return result.clone();
            }
            state = match state.log.take() {
                // Nobody writes, so this thread's group is the one that waits.
                Some(log) => self.write_all(state, log),
                None => self.written.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn write_all<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        mut log: DecisionLog,
    ) -> MutexGuard<'s, State> {
        let records = std::mem::take(&mut state.waiting);
        let group = std::mem::take(&mut state.group);
        drop(state);
        let written = log.records(records).and_then(|()| log.sync());
        let _ = group.set(written.map_err(|error| error.to_string()));
        let mut state = self.lock();
        state.log = Some(log);
        self.written.notify_all();
        state
    }

    /// Closes the log: nobody writes any more.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn close(&self) -> Result<(), LogError> {
        self.lock().log.take().map_or(Ok(()), DecisionLog::close)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::Journal;
    use casemate_policy::log::{DecisionRecord, Verifier};
    use casemate_policy::{Facts, Key, Point, Policy};
    use casemate_policy_log::LogFile;
    use std::sync::Arc;

    /// Protects decisions of threads that write at once: each is there, whole, in one chain, when
    /// its thread goes on. Cannot tell whether they are on the disk.
    #[test]
    fn decisions_of_many_threads_are_all_in_one_chain() {
        const THREADS: usize = 8;
        const EACH: usize = 25;
        let name = format!("casemate-journal-{}.jsonl", std::process::id());
        let path = std::env::temp_dir().join(name);
        let (log, _) = LogFile::new(&path).open().unwrap();
        let journal = Arc::new(Journal::new(log));
        let policy = Policy::defaults("test");
        let record = |number: usize| {
            let facts = Facts::new().number(Key::SecretUses, number.try_into().unwrap());
            let decision = policy.decide(Point::Secrets, &facts);
            DecisionRecord::new([7; 32], Point::Secrets, &facts, &decision)
        };
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (journal, path, record) = (&journal, &path, &record);
                scope.spawn(move || {
                    for at in 0..EACH {
                        let record = record(thread * EACH + at);
                        let input = record.input.clone();
                        journal.write(vec![record]).unwrap();
                        // Of its own, what it goes on with is there.
                        let text = std::fs::read_to_string(path).unwrap();
                        let quoted = serde_json::to_string(&input).unwrap();
                        assert!(text.contains(&quoted) || text.contains(&input), "{input}");
                    }
                });
            }
        });
        journal.close().unwrap();
        let mut verifier = Verifier::new(None, None);
        let text = std::fs::read(&path).unwrap();
        let mut decisions = 0;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            decisions += usize::from(verifier.line(line).is_some_and(|record| {
                matches!(record.entry, casemate_policy::log::Entry::Decision(_))
            }));
        }
        assert!(verifier.finish(b"").is_good());
        assert_eq!(decisions, THREADS * EACH);
        for path in [path.clone(), casemate_policy_log::lock_path(&path)] {
            std::fs::remove_file(path).unwrap();
        }
    }
}
