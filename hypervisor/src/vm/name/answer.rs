//! What a holder of a name answers: a line `kind pid` for each process, the supervisor first.

use crate::vm::kind::ProcessKind;

/// Longest answer, bytes.
pub(super) const MAX_ANSWER: usize = 4096;
/// Most processes of a VM.
const MAX_PROCESSES: usize = 64;

/// Why an answer is not believed. It quotes nothing of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// Not lines of `kind pid`, the supervisor first.
    #[error("its answer is no list of a VM's processes")]
    NoList,
    /// The supervisor that it names is another process than the one that answers.
    #[error("the process that answers is not the supervisor that it names")]
    NotItself,
    /// A process that it names is not its child.
    #[error("process {0}, which it names, is not its child (or has ended)")]
    NotItsChild(u32),
    /// The kernel cannot say who answers: it is in another PID namespace.
    #[error("it has no number here: ask in the VM's own PID namespace")]
    Unseen,
}

/// Parses an answer.
///
/// # Errors
/// [`BadAnswer::NoList`].
pub fn parse(answer: &[u8]) -> Result<Vec<(ProcessKind, u32)>, BadAnswer> {
    let text = std::str::from_utf8(answer).map_err(|_| BadAnswer::NoList)?;
    let processes: Option<Vec<_>> = text.split_terminator('\n').map(line).collect();
    match processes {
        Some(all)
            if all.len() <= MAX_PROCESSES
                && matches!(all.first(), Some((ProcessKind::Supervisor, _))) =>
        {
            Ok(all)
        }
        _ => Err(BadAnswer::NoList),
    }
}

fn line(line: &str) -> Option<(ProcessKind, u32)> {
    let (kind, pid) = line.split_once(' ')?;
    // `parse` would take a sign; a PID has none, and fits an int.
    let digits = pid.bytes().all(|byte| byte.is_ascii_digit());
    let pid =
        pid.parse().ok().filter(|pid| digits && (1..=i32::MAX.unsigned_abs()).contains(pid))?;
    Some((ProcessKind::from_name(kind)?, pid))
}

#[cfg(test)]
mod tests {
    use super::{BadAnswer, parse};
    use crate::vm::kind::ProcessKind;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_list_that_begins_with_the_supervisor_is_taken() {
        let good = parse(b"supervisor 7\nvmm 8\n");
        assert_eq!(good, Ok(vec![(ProcessKind::Supervisor, 7), (ProcessKind::Vmm, 8)]));
        for bad in [
            "",
            "\n",
            "vmm 8\n",
            "supervisor\n",
            "supervisor 0\n",
            "supervisor -1\n",
            "supervisor +7\n",
            "supervisor 4294967295\n",
            "supervisor 7\nvmm 8 9\n",
            "supervisor 7\n\x1b[2J 8\n",
            "supervisor 7\r\n",
            "supervisor 7\nother 8\n",
        ] {
            assert_eq!(parse(bad.as_bytes()), Err(BadAnswer::NoList), "{bad:?}");
        }
        assert_eq!(parse(&b"supervisor 7\n".repeat(65)), Err(BadAnswer::NoList));
        assert_eq!(parse(b"supervisor 7\n\xff"), Err(BadAnswer::NoList));
    }

    proptest! {
        #[test]
        fn any_answer_is_a_list_or_an_error(answer in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&answer);
        }
    }
}
