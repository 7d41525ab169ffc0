//! The isolation policy of Casemate: one document says what may run on a host and what a guest may do.
//!
//! A pure library: no I/O, no clock, no global state; documents and inputs are values. A document is a
//! product of fields, each of which is a lattice ordered from strict to loose ([`lattice`]), so that
//! deciding, comparing, merging and explaining are exact. Deny by default; an error is a denial; an
//! unknown key, a newer `min_engine` or an unknown name refuses the document; a wildcard has to be
//! written `any`.
//!
//! ```
//! use policy::{Facts, Key, Point, Policy, Verdict};
//!
//! let text = "schema_version = 1\nmin_engine = \"0.1.0\"\n[runtime]\nconsole = \"output\"\n";
//! let policy = Policy::load(text, "example.toml").expect("a good document");
//! let facts = Facts::new()
//!     .text(Key::AccessConsole, "interactive")
//!     .text(Key::AccessDebug, "none")
//!     .flag(Key::AccessSnapshot, false)
//!     .flag(Key::AccessMigration, false);
//! let decision = policy.decide(Point::Access, &facts);
//! assert_eq!(decision.verdict, Verdict::Deny);
//! assert_eq!(decision.reasons[0].rule, "runtime.console");
//! ```
#![forbid(unsafe_code)]

mod builtin;
mod decide;
pub mod document;
mod fact;
pub mod fields;
mod input;
pub mod lattice;
mod limits;
mod policy;
mod render;
mod rule;

pub use decide::{Cause, Decision, Reason, Verdict};
pub use document::{Diagnostic, LoadError, Site};
pub use fact::{DeviceFact, DeviceKind, Fact, Facts};
pub use fields::{Field, Key, Kind, Point};
pub use input::Input;
pub use limits::{Counter, PageStateLimits, RequestLimit};
pub use policy::{Grant, Origin, Policy, Rules};
pub use rule::Rule;
