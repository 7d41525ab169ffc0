//! What a holder of a name answers: a line for each process, the supervisor first. A line is `kind
//! pid`, and behind another blank the names, with commas between, of the optional layers that the
//! process runs without.

use crate::vm::kind::ProcessKind;
use casemate_sandbox::Layer;
use std::fmt;

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

/// A process of a VM, as its supervisor tells of it: a line of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it is.
    pub kind: ProcessKind,
    /// Its number.
    pub pid: u32,
    /// The optional layers of its lock that this host could not give it.
    pub without: Vec<Layer>,
    /// That it has ended: it is not in an answer.
    pub gone: bool,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.pid)?;
        for (index, layer) in self.without.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { ' ' } else { ',' }, layer.name())?;
        }
        writeln!(f)
    }
}

/// Parses an answer.
///
/// # Errors
/// [`BadAnswer::NoList`].
pub fn parse(answer: &[u8]) -> Result<Vec<Told>, BadAnswer> {
    let text = std::str::from_utf8(answer).map_err(|_| BadAnswer::NoList)?;
    let processes: Option<Vec<_>> = text.split_terminator('\n').map(line).collect();
    match processes {
        Some(all)
            if all.len() <= MAX_PROCESSES
                && all.first().is_some_and(|told| told.kind == ProcessKind::Supervisor) =>
        {
            Ok(all)
        }
        _ => Err(BadAnswer::NoList),
    }
}

fn line(line: &str) -> Option<Told> {
    let (kind, rest) = line.split_once(' ')?;
    let (pid, layers) = match rest.split_once(' ') {
        Some((pid, layers)) => (pid, Some(layers)),
        None => (rest, None),
    };
    let layers = layers.into_iter().flat_map(|names| names.split(','));
    let without: Vec<Layer> = layers.map(Layer::from_name).collect::<Option<_>>()?;
    // `parse` would take a sign; a PID has none, and fits an int.
    let digits = pid.bytes().all(|byte| byte.is_ascii_digit());
    let pid =
        pid.parse().ok().filter(|pid| digits && (1..=i32::MAX.unsigned_abs()).contains(pid))?;
    // Each at most once, in their order: then an answer has one spelling and is bounded.
    let ordered = without.is_sorted_by(|a, b| a < b);
    let kind = ProcessKind::from_name(kind)?;
    Some(Told { kind, pid, without, gone: false }).filter(|_| ordered)
}

#[cfg(test)]
mod tests {
    use super::{BadAnswer, Told, parse};
    use crate::vm::kind::ProcessKind;
    use casemate_sandbox::Layer;
    use proptest::prelude::*;

    #[test]
    fn only_a_whole_list_that_begins_with_the_supervisor_is_taken() {
        let told = |kind, pid, without| Told { kind, pid, without, gone: false };
        let supervisor = told(ProcessKind::Supervisor, 7, vec![]);
        let lacking = vec![Layer::UserNamespace, Layer::Landlock];
        let vmm = told(ProcessKind::Vmm, 8, lacking);
        let answer = "supervisor 7\nvmm 8 user-namespace,landlock\n";
        assert_eq!(format!("{supervisor}{vmm}"), answer);
        assert_eq!(parse(answer.as_bytes()), Ok(vec![supervisor, vmm]));
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
            "supervisor 7 \n",
            "supervisor 7 landlock,\n",
            "supervisor 7 landlock,landlock\n",
            "supervisor 7 landlock,user-namespace\n",
            "supervisor 7 landlock seccomp\n",
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
