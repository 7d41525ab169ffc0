//! Whether a vCPU gets anywhere.

use crate::exits::{Exit, Outcome, Stop};

/// Memory faults of one vCPU without any other exit in between before the guest is stopped: one
/// instruction touches at most a handful of pages.
const FAULTS_IN_A_ROW: u32 = 4096;

/// Counts what one vCPU does without getting anywhere.
///
/// Each vCPU has its own, in its thread. One count for the whole VM would be set back by any other
/// vCPU that prints a byte now and then, and a vCPU that faults for ever keeps a processor of the
/// host busy for ever.
#[derive(Debug, Default)]
pub struct Progress {
    faults_in_a_row: u32,
}

impl Progress {
    /// Takes note of an exit of this vCPU. A stop instead of it when the vCPU has come too often
    /// for the same.
    ///
    /// An interruption says nothing either way: the host causes it.
    pub fn after(&mut self, exit: &Exit<'_>) -> Outcome {
        match exit {
            Exit::Intr(_) => Outcome::Resume,
            Exit::MemoryFault(fault) => {
                self.faults_in_a_row = self.faults_in_a_row.saturating_add(1);
                if self.faults_in_a_row <= FAULTS_IN_A_ROW {
                    return Outcome::Resume;
                }
                Outcome::Stop(Stop::MemoryFault { gpa: fault.gpa.shown(), private: fault.private })
            }
            _ => {
                self.faults_in_a_row = 0;
                Outcome::Resume
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FAULTS_IN_A_ROW, Progress};
    use crate::exits::hlt::Hlt;
    use crate::exits::intr::Intr;
    use crate::exits::memory_fault::MemoryFault;
    use crate::exits::{Exit, Outcome};
    use casemate_values::Guest;

    fn fault() -> Exit<'static> {
        let (gpa, size) = (Guest::new(0x1000), Guest::new(0x1000));
        Exit::MemoryFault(MemoryFault { gpa, size, private: true })
    }

    fn faults(progress: &mut Progress, count: u32) -> Option<u32> {
        (1..=count).find(|_| progress.after(&fault()) != Outcome::Resume)
    }

    /// Protects the host's processor from a vCPU that faults for ever while another one makes
    /// progress. Cannot tell that the engine gives each vCPU its own count: `vm::engine::run` makes
    /// one per thread.
    #[test]
    fn vcpu_that_only_faults_is_stopped_whatever_another_one_does() {
        let (mut stuck, mut busy) = (Progress::default(), Progress::default());
        for _ in 0..FAULTS_IN_A_ROW {
            assert_eq!(stuck.after(&fault()), Outcome::Resume);
            assert_eq!(busy.after(&Exit::Hlt(Hlt)), Outcome::Resume);
        }
        assert!(matches!(stuck.after(&fault()), Outcome::Stop(_)));
        assert_eq!(busy.after(&fault()), Outcome::Resume);
    }

    #[test]
    fn another_exit_is_progress_and_an_interruption_is_not() {
        let mut progress = Progress::default();
        assert_eq!(faults(&mut progress, FAULTS_IN_A_ROW), None);
        assert_eq!(progress.after(&Exit::Hlt(Hlt)), Outcome::Resume);
        assert_eq!(faults(&mut progress, FAULTS_IN_A_ROW), None);
        assert_eq!(progress.after(&Exit::Intr(Intr)), Outcome::Resume);
        assert_eq!(faults(&mut progress, 1), Some(1));
    }
}
