//! Landlock with every right handled and none granted, or one in the directory that is the root.

use super::directory::InDirectory;
use super::refusal::Refusal;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use std::io;

/// The newest rights that are handled; the kernel's own are fewer or, if it is newer, more.
const KNOWN: ABI = ABI::V10;
/// First ABI with scopes.
const SCOPES_SINCE: ABI = ABI::V6;

/// What landlock denies from now on.
#[derive(Debug)]
pub(super) struct Denied {
    abi: ABI,
    newer_kernel: Option<i32>,
}

/// What a process may not reach of other processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scopes {
    /// Whatever the other layers leave: this one is off.
    None,
    /// Abstract sockets: for a process that has children to end.
    Sockets,
    /// Abstract sockets, and processes by signals.
    All,
}

impl Scopes {
    fn flags(self) -> landlock::BitFlags<Scope> {
        match self {
            Self::None => landlock::BitFlags::empty(),
            Self::Sockets => Scope::AbstractUnixSocket.into(),
            Self::All => Scope::from_all(KNOWN),
        }
    }
}

/// Denies this thread, and those it will make, every access to files and network that the running
/// kernel can deny, and what `scopes` says; `sees` is what is left in the root. Needs
/// `no_new_privs`.
pub(super) fn deny_all(scopes: Scopes, sees: Option<InDirectory>) -> Result<Denied, Refusal> {
    let error = |e: landlock::RulesetError| Refusal::new("landlock", io::Error::other(e));
    let rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(KNOWN)));
    // The crate takes no empty set of scopes.
    let rules = match scopes {
        Scopes::None => rules,
        some => rules.and_then(|rules| rules.scope(some.flags())),
    };
    let mut rules = rules.and_then(Ruleset::create).map_err(error)?;
    if let Some(sees) = sees {
        let root = PathFd::new("/").map_err(|e| Refusal::new("open(/)", io::Error::other(e)))?;
        let beneath = PathBeneath::new(root, sees.access());
        rules = rules.add_rule(beneath).map_err(error)?;
    }
    let status = rules.no_new_privs(false).restrict_self().map_err(error)?;
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi }
            if status.ruleset != RulesetStatus::NotEnforced =>
        {
            Ok(Denied { abi: effective_abi, newer_kernel: kernel_abi })
        }
        _ => Err(Refusal::new(
            "landlock_create_ruleset",
            io::Error::from_raw_os_error(libc::EOPNOTSUPP),
        )),
    }
}

impl Denied {
    /// What is denied, in words.
    pub(super) fn details(&self) -> String {
        let net = match self.abi {
            abi if abi >= ABI::V10 => ", TCP, UDP",
            abi if abi >= ABI::V4 => ", TCP",
            _ => "",
        };
        let newer = match self.newer_kernel {
            Some(kernel) => format!(" (the kernel has {kernel})"),
            None => String::new(),
        };
        format!("ABI {}{newer}: files{net} denied", self.abi as i32)
    }

    /// Whether scopes are in force.
    pub(super) fn scopes(&self) -> Result<String, Refusal> {
        if self.abi >= SCOPES_SINCE {
            Ok(String::new())
        } else {
            let source = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
            Err(Refusal::new(format!("landlock ABI {}", self.abi as i32), source))
        }
    }
}
