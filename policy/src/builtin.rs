//! The two policies that `casemate run` uses when it is given none.

use crate::policy::Policy;

const STRICT: &str = include_str!("builtin/strict.toml");
const PERMISSIVE: &str = include_str!("builtin/permissive.toml");

fn builtin(text: &str, name: &str) -> Policy {
    // Both texts are part of the program and loaded by tests; one that does not load would deny.
    Policy::load(text, name).unwrap_or_else(|_| Policy::defaults(name))
}

impl Policy {
    /// The default for `protection = "sev-snp"`: bounded resources, our own devices only, no
    /// debugging, no migration, no egress, no secrets.
    #[must_use]
    pub fn builtin_strict() -> Self {
        builtin(STRICT, "built-in strict policy")
    }

    /// The default for `protection = "none"`, a development mode: admits every guest without
    /// protection, and no guest that claims any.
    #[must_use]
    pub fn builtin_permissive() -> Self {
        builtin(PERMISSIVE, "built-in permissive policy")
    }

    /// The built-in policy of this name, `builtin:strict` or `builtin:permissive`.
    #[must_use]
    pub fn builtin(name: &str) -> Option<Self> {
        match name {
            "builtin:strict" => Some(Self::builtin_strict()),
            "builtin:permissive" => Some(Self::builtin_permissive()),
            _ => None,
        }
    }

    /// The text of the built-in strict policy.
    #[must_use]
    pub const fn strict_text() -> &'static str {
        STRICT
    }

    /// The text of the built-in permissive policy.
    #[must_use]
    pub const fn permissive_text() -> &'static str {
        PERMISSIVE
    }
}
