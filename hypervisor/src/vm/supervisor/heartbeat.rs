//! Whether a device process hangs.
//!
//! It is asked every second, and answers by a thread that does nothing else
//! (`casemate_device_process`). No answer means that the process as a whole does not run: somebody
//! stopped it, or it never gets a processor. An answer says of each thread how many steps it has
//! made and where it is; one that is at work and makes no step, answer after answer, goes round in
//! circles. One that waits for its guest, or in the kernel for its storage, may do that for ever:
//! slow storage is no hang, however slow.
//!
//! Time counts here only while the supervisor itself runs: what is counted are its own questions,
//! at most one a second, so a supervisor that was stopped, or a machine that was suspended, takes
//! no device for hung. And no answer is missed before the socket has been read.

use casemate_device_process::{Beat, Seen, ThreadPlace as Place};
use std::fmt;
use std::time::Duration;

/// From one question to the next.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// Questions in a row that may go unanswered, or find a thread at the same step. On a machine that
/// has far too much to do a process can wait seconds for a processor.
const PATIENCE: u32 = 10;

/// How a process hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hang {
    /// It does not answer at all, as a process that was stopped.
    Silent,
    /// A thread of it is at work, and comes no further.
    Stuck,
}

impl fmt::Display for Hang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it did not answer, as if it had been stopped",
            Self::Stuck => "it was at work and came no further",
        })
    }
}

/// An answer that nobody asked for, or that cannot be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unasked;

/// What is known of one process.
#[derive(Debug)]
pub(super) struct Heartbeat {
    asked: u32,
    /// Whether the last question is answered; before the first there is nothing to answer.
    waits: bool,
    missed: u32,
    /// Of each thread what was seen last, and how often it was at that step before.
    threads: Vec<(Seen, u32)>,
}

impl Heartbeat {
    /// Of a process that was not asked yet.
    pub(super) const NEW: Self = Self { asked: 0, waits: false, missed: 0, threads: Vec::new() };

    /// It is time for a question: its number; none while the last one is not answered.
    ///
    /// # Errors
    /// [`Hang::Silent`].
    pub(super) fn ask(&mut self) -> Result<Option<u32>, Hang> {
        if self.waits {
            self.missed = self.missed.saturating_add(1);
            return if self.missed >= PATIENCE { Err(Hang::Silent) } else { Ok(None) };
        }
        (self.waits, self.missed) = (true, 0);
        self.asked = self.asked.wrapping_add(1);
        Ok(Some(self.asked))
    }

    /// An answer has come: whether the process hangs all the same.
    ///
    /// # Errors
    /// [`Unasked`].
    pub(super) fn heard(&mut self, beat: &Beat) -> Result<Option<Hang>, Unasked> {
        let Beat { number, threads } = beat;
        let is_first = self.threads.is_empty();
        if !self.waits || *number != self.asked {
            return Err(Unasked);
        }
        self.waits = false;
        if is_first {
            self.threads = threads.iter().map(|seen| (*seen, 0)).collect();
            return Ok(None);
        }
        if self.threads.len() != threads.len() {
            return Err(Unasked);
        }
        // The first thread hears the front end. It may have to wait until a queue's request is
        // done, which is as long as that one is in its storage.
        let is_stored = threads.iter().any(|seen| seen.place == Place::Stores);
        let mut stuck = false;
        for (index, ((last, times), now)) in self.threads.iter_mut().zip(threads).enumerate() {
            let may_wait = index == 0 && is_stored;
            let same = now == last && now.place == Place::Works && !may_wait;
            *times = if same { times.saturating_add(1) } else { 0 };
            *last = *now;
            stuck |= *times >= PATIENCE;
        }
        Ok(stuck.then_some(Hang::Stuck))
    }

    /// Whether a thread was in its storage when the process answered last.
    pub(super) fn stores(&self) -> bool {
        self.threads.iter().any(|(seen, _)| seen.place == Place::Stores)
    }
}

#[cfg(test)]
mod tests {
    use super::{Beat, Hang, Heartbeat, PATIENCE, Place, Seen, Unasked};

    const fn seen(steps: u32, place: Place) -> Seen {
        Seen { steps, place }
    }

    /// Asks and answers `rounds` times; `threads` are seen each time.
    fn rounds(
        heart: &mut Heartbeat,
        rounds: u32,
        threads: impl Fn(u32) -> Vec<Seen>,
    ) -> Option<Hang> {
        (0..rounds).find_map(|round| {
            let number = heart.ask().unwrap().unwrap();
            heart.heard(&Beat { number, threads: threads(round) }).unwrap()
        })
    }

    /// Protects a guest whose disk is slow: as long as the kernel reads or writes for it, or it
    /// waits for its guest, its process does not hang, however long that takes.
    #[test]
    fn storage_that_takes_long_and_a_guest_that_asks_nothing_are_no_hang() {
        let mut heart = Heartbeat::NEW;
        let idle = [seen(5, Place::Waits), seen(9, Place::Waits)];
        assert_eq!(rounds(&mut heart, 1000, |_| idle.to_vec()), None);
        // A reset waits for the request that is in the storage.
        let stores = [seen(6, Place::Works), seen(10, Place::Stores)];
        assert!(!heart.stores());
        assert_eq!(rounds(&mut heart, 1000, |_| stores.to_vec()), None);
        assert!(heart.stores());
        // At work whenever it is looked at, and each time further on.
        let works = |round| vec![seen(7, Place::Waits), seen(round, Place::Works)];
        assert_eq!(rounds(&mut heart, 1000, works), None);
    }

    #[test]
    fn a_thread_that_is_at_work_and_comes_no_further_hangs_whatever_the_others_do() {
        let mut heart = Heartbeat::NEW;
        // One queue's storage is slow, the other queue's thread goes round in circles.
        let threads =
            |round| vec![seen(1, Place::Waits), seen(4, Place::Works), seen(round, Place::Stores)];
        assert_eq!(rounds(&mut heart, PATIENCE, threads), None);
        assert_eq!(rounds(&mut heart, 1, threads), Some(Hang::Stuck));
        // And so does one that hears its front end, while no queue is in its storage.
        let mut heart = Heartbeat::NEW;
        let threads = |_| vec![seen(1, Place::Works), seen(4, Place::Waits)];
        assert_eq!(rounds(&mut heart, PATIENCE, threads), None);
        assert_eq!(rounds(&mut heart, 1, threads), Some(Hang::Stuck));
    }

    #[test]
    fn a_process_that_does_not_answer_hangs_and_a_late_answer_counts() {
        let mut heart = Heartbeat::NEW;
        let number = heart.ask().unwrap().unwrap();
        for _ in 1..PATIENCE {
            assert_eq!(heart.ask(), Ok(None));
        }
        let threads = vec![seen(1, Place::Waits)];
        assert_eq!(heart.heard(&Beat { number, threads }), Ok(None));
        assert_eq!(heart.ask(), Ok(Some(number + 1)));
        for _ in 1..PATIENCE {
            assert_eq!(heart.ask(), Ok(None));
        }
        assert_eq!(heart.ask(), Err(Hang::Silent));
    }

    /// Protects the supervisor from a device that answers without end.
    #[test]
    fn an_answer_that_nobody_asked_for_is_none() {
        let mut heart = Heartbeat::NEW;
        let beat = |number, threads| Beat { number, threads: vec![seen(1, Place::Waits); threads] };
        assert_eq!(heart.heard(&beat(0, 2)), Err(Unasked));
        let number = heart.ask().unwrap().unwrap();
        assert_eq!(heart.heard(&beat(number.wrapping_add(1), 2)), Err(Unasked));
        assert_eq!(heart.heard(&beat(number, 2)), Ok(None));
        assert_eq!(heart.heard(&beat(number, 2)), Err(Unasked), "twice");
        let number = heart.ask().unwrap().unwrap();
        assert_eq!(heart.heard(&beat(number, 3)), Err(Unasked), "a thread more");
    }
}
