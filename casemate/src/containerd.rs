//! The program under the name that containerd knows its runtimes by: `containerd-shim-casemate-v2`,
//! a link to it.
//!
//! A pod of this runtime is an SNP guest or nothing: where this node cannot have one the pod is
//! refused, by a sentence that `ctr` and `kubectl describe` show. There is no handler that runs it
//! as anything less.

use crate::Failure;
use casemate_containerd::{Action, Guest, Invocation, Launch, Launcher, RuntimeError};
use casemate_hypervisor::host::{Capability, Survey};
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

/// What containerd calls for `io.containerd.casemate.v2`.
const NAME: &str = "containerd-shim-casemate-v2";

/// Whether the program was called by that name.
pub fn is_called(words: &[OsString]) -> bool {
    let name = words.first().and_then(|word| Path::new(word).file_name());
    name == Some(OsStr::new(NAME))
}

/// Does what containerd asks for.
///
/// # Errors
/// [`Failure`]: its sentence is what containerd says of the pod.
pub fn run(words: &[OsString]) -> Result<(), Failure> {
    let text = |word: &OsString| word.to_str().map(str::to_owned);
    let words: Option<Vec<String>> = words.iter().skip(1).map(text).collect();
    let words = words.ok_or_else(|| Failure::BadInput("an argument is not UTF-8".into()))?;
    let act = || {
        let call = Invocation::read(&words)?;
        let mut out = std::io::stdout().lock();
        match call.action {
            Action::Start => casemate_containerd::start::start(&call, &mut out),
            Action::Delete => casemate_containerd::delete::delete(&call, &mut out),
            Action::Serve => serve(&call),
            Action::Version => writeln!(out, "{NAME} {}", env!("CARGO_PKG_VERSION"))
                .map_err(|error| RuntimeError::System { what: "standard output".into(), error }),
        }
    };
    act().map_err(|error| match error {
        RuntimeError::Use(what) => Failure::BadInput(what),
        other => Failure::Failed(other.to_string()),
    })
}

fn serve(call: &Invocation) -> Result<(), RuntimeError> {
    let system = |error| RuntimeError::System { what: "the listener".into(), error };
    let listener = std::io::stdin().as_fd().try_clone_to_owned().map_err(system)?;
    // Before there is a second thread: the survey tries in a child what can be confined.
    let survey = Survey::take();
    let lacking = survey.lacking(Capability::SevSnp).next();
    let lacking = lacking.map(|finding| {
        let (subject, found) = (finding.subject.trim(), finding.found.trim());
        format!("{subject}: {found}")
    });
    casemate_containerd::run(call, listener, Box::new(Node { lacking }))
}

/// This node, as far as pods' guests go.
struct Node {
    /// What it lacks for SNP guests, the first of it.
    lacking: Option<String>,
}

impl Launcher for Node {
    fn launch(&self, _: &Launch) -> Result<Box<dyn Guest>, RuntimeError> {
        Err(RuntimeError::Pod(self.lacking.as_ref().map_or_else(
            || "this version has no guest image for pods yet, and starts none".into(),
            |lacking| {
                format!(
                    "a pod of this runtime is an SEV-SNP guest, and this node has none ({lacking}; \
                     `casemate host` says more)"
                )
            },
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_called_says_what_the_program_is() {
        let called = |word: &str| is_called(&[word.into(), "start".into()]);
        assert!(called("/usr/local/bin/containerd-shim-casemate-v2"));
        assert!(called("containerd-shim-casemate-v2"));
        assert!(!called("casemate"));
        assert!(!called("/usr/bin/containerd-shim-casemate-v2/casemate"));
        assert!(!called("containerd-shim-casemate-model-v2"));
        assert!(!is_called(&[]));
    }

    #[test]
    fn a_node_never_has_less_than_an_snp_guest_for_a_pod() {
        let launch = Launch { id: "a".into(), bundle: "/".into(), host_data: [0; 32] };
        for (lacking, says) in [(Some("/dev/sev: missing".into()), "/dev/sev"), (None, "yet")] {
            let refused = Node { lacking }.launch(&launch).map(drop).unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }
}
