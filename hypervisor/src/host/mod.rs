//! What this host can do, and what it lacks: `casemate host`.
//!
//! Everything is asked of the kernel itself: KVM by its ioctls, confinement by confining a process.
//! Only flaws of kernel versions are known by number, because no probe shows them. A [`Finding`]
//! says what was found, why it matters and what to do about it.

pub mod cgroup;
pub mod cgroup_usage;
mod confinement;
mod facts;
mod firmware;
mod kernel;
mod kvm;
#[cfg(test)]
mod tests;

pub use facts::HostFacts;
pub use kernel::{KernelVersion, flaws};

use serde::Serialize;
use std::fmt;

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is there, or is as it should be.
    Ok,
    /// It is not there, and something cannot be had without it.
    Missing,
    /// Something to know that stands in nobody's way.
    Note,
}

/// What a VM can be asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// A VM that runs Linux, `protection = "none"`.
    Plain,
    /// A confidential VM, `protection = "sev-snp"`.
    SevSnp,
}

/// One line of the survey.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub subject: String,
    /// What that means for a VM.
    pub verdict: Verdict,
    /// What was found, in a few words.
    pub found: String,
    /// Why it matters and, where it is missing, what to do.
    pub why: String,
    /// What cannot be had while it is missing.
    pub needed_for: Option<Capability>,
}

impl Finding {
    fn new(
        subject: impl Into<String>,
        verdict: Verdict,
        found: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let (subject, found, why) = (subject.into(), found.into(), why.into());
        Self { subject, verdict, found, why, needed_for: None }
    }

    /// A finding that something is there, or that it is not and what is lost.
    fn there(
        subject: impl Into<String>,
        there: bool,
        found: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        let verdict = if there { Verdict::Ok } else { Verdict::Missing };
        Self::new(subject, verdict, found, why)
    }

    const fn needed_for(mut self, capability: Capability) -> Self {
        self.needed_for = Some(capability);
        self
    }
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Survey {
    /// What was found, line by line.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// Looks at everything. Call it while the process has one thread: confinement is probed in a
    /// child.
    #[must_use]
    pub fn take() -> Self {
        let mut findings = kernel::findings();
        findings.extend(kvm::findings());
        findings.extend(confinement::findings());
        Self { findings }
    }

    /// What `capability` needs and this host lacks. A confidential VM needs all that a plain one
    /// does.
    pub fn lacking(&self, capability: Capability) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| {
            finding.verdict == Verdict::Missing
                && finding.needed_for.is_some_and(|needed| needed <= capability)
        })
    }

    /// Whether the host has what `capability` needs.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.lacking(capability).next().is_none()
    }

    /// The survey as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "can": {
                "plain": self.can(Capability::Plain),
                "sev-snp": self.can(Capability::SevSnp),
            },
            "findings": self.findings,
        })
    }
}

/// Whether this machine's /dev/kvm runs Linux guests.
///
/// # Errors
/// A sentence that says why not.
pub fn can_run_linux() -> Result<(), String> {
    kvm::can_run_linux()
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Missing => "MISSING",
            Verdict::Note => "note",
        };
        write!(f, "{verdict:<8}{:<26}{:<34} {}", self.subject, self.found, self.why)
    }
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        for (capability, name) in [(Capability::Plain, "plain"), (Capability::SevSnp, "sev-snp")] {
            let lacking: Vec<_> = self.lacking(capability).map(|f| f.subject.as_str()).collect();
            match lacking.as_slice() {
                [] => writeln!(f, "\n{name} VMs: yes")?,
                lacking => writeln!(f, "\n{name} VMs: no, for lack of: {}", lacking.join(", "))?,
            }
        }
        Ok(())
    }
}
