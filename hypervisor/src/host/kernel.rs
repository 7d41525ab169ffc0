//! The kernel's version, and flaws known by version.

use super::{Finding, Verdict};
use std::fmt;

/// A version of the kernel: major, minor, patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    major: u32,
    minor: u32,
    patch: u32,
}

impl KernelVersion {
    /// The version at the beginning of such a text.
    #[must_use]
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// The version at the start of a release string such as `6.12.117-cloud-amd64`.
    #[must_use]
    pub fn parse(release: &str) -> Option<Self> {
        let numeric = release.split(|c: char| c != '.' && !c.is_ascii_digit()).next()?;
        let mut numbers = numeric.split('.').map(str::parse);
        let mut next = || numbers.next();
        let (major, minor) = (next()?.ok()?, next()?.ok()?);
        let patch = next().and_then(Result::ok).unwrap_or(0);
        Some(Self::new(major, minor, patch))
    }

    const fn is_series(self, major: u32, minor: u32) -> bool {
        self.major == major && self.minor == minor
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A flaw of some versions.
#[derive(Debug, Clone, Copy)]
pub struct Flaw {
    /// What it is about.
    pub subject: &'static str,
    /// What happens, and what to do.
    pub why: &'static str,
    /// The name in a policy's `host.flaws`: a confidential guest is refused unless the policy names
    /// it. `None` for one that costs availability only and cannot be avoided by another kernel of
    /// its time.
    pub refused: Option<&'static str>,
    has: fn(KernelVersion) -> bool,
}

const fn v(major: u32, minor: u32, patch: u32) -> KernelVersion {
    KernelVersion::new(major, minor, patch)
}

/// Flaws published and fixed, or avoidable, that matter to a host of VMs.
const FLAWS: [Flaw; 4] = [
    Flaw {
        subject: "SNP page-state change",
        why: "an SNP guest can reach host memory by a page-state change request on Linux 6.10 and newer without \
              mainline commit db3f219 (May 2026; 6.12.117, 7.2.12 and 7.3.4 have it): make sure this kernel has it",
        refused: Some("snp-page-state-change"),
        has: |k| {
            let fixed = k.is_series(6, 12) && k >= v(6, 12, 117)
                || k.is_series(7, 2) && k >= v(7, 2, 12)
                || k >= v(7, 3, 4);
            k >= v(6, 10, 0) && !fixed
        },
    },
    Flaw {
        subject: "SNP launch finish",
        why: "CVE-2026-31591: vCPUs are not locked while a launch finishes; 6.12.117 does not have the fix: update \
              when your distribution has it",
        refused: Some("snp-launch-finish"),
        has: |k| k >= v(6, 11, 0) && k <= v(6, 12, 117),
    },
    Flaw {
        subject: "RMP updates",
        why: "page ownership updates fail and crash SNP hosts on Linux 6.9 to 6.11 (AMDESE/AMDSEV issues 235, 245, \
              264): use 6.12 or newer",
        refused: Some("rmp-updates"),
        has: |k| k >= v(6, 9, 0) && k < v(6, 12, 0),
    },
    Flaw {
        subject: "KVM_RUN ENOMEM",
        why: "KVM_RUN fails now and then with ENOMEM on Linux 6.12 and 6.13 (libkrun issue 314): a VM may stop for \
              no reason of its own",
        refused: None,
        has: |k| k.is_series(6, 12) || k.is_series(6, 13),
    },
];

/// The flaws that a version has, or may have.
pub fn flaws(version: KernelVersion) -> impl Iterator<Item = Flaw> {
    FLAWS.into_iter().filter(move |flaw| (flaw.has)(version))
}

pub(super) fn findings() -> Vec<Finding> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let Some(version) = KernelVersion::parse(&release) else {
        let why = "the version decides which known flaws apply";
        return vec![Finding::new("kernel", Verdict::Note, release, why)];
    };
    let why =
        "6.12 is the oldest kernel with everything that Casemate uses; newer features are probed";
    let verdict = if version >= v(6, 12, 0) { Verdict::Ok } else { Verdict::Note };
    let mut findings = vec![Finding::new("kernel", verdict, release, why)];
    for flaw in flaws(version) {
        let found = format!("{version} may have it");
        let why = match flaw.refused {
            Some(name) => format!(
                "{}; confidential guests are refused unless the policy's `host.flaws` names \"{name}\"",
                flaw.why
            ),
            None => flaw.why.to_owned(),
        };
        findings.push(Finding::new(flaw.subject, Verdict::Note, found, why));
    }
    findings
}
