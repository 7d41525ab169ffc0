//! The isolation policy of Casemate: one document says what may run on a host and what a guest may
//! do.
//!
//! A pure library: no I/O, no clock, no global state; documents and inputs are values. A document
//! is a product of fields, each of which is a lattice ordered from strict to loose ([`lattice`]),
//! so that deciding, comparing, merging and explaining are exact. Deny by default; an error is a
//! denial; an unknown key, a newer `min_engine` or an unknown name refuses the document; a wildcard
//! has to be written `any`.
//!
//! ```
//! use casemate_policy::{Facts, Key, Point, Policy, Verdict};
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

pub mod audit;
mod builtin;
mod canonical;
mod cmdline;
mod decide;
mod devices;
mod diff;
pub mod document;
mod explain;
pub mod export;
mod fact;
mod facts;
pub mod fields;
mod input;
pub mod lattice;
mod least;
mod limits;
pub mod log;
mod merge;
mod network_rules;
mod policy;
mod reference;
mod render;
mod rule;
mod rules;
mod runtime_rule;
mod schema;
mod search;
mod site;
mod starter;
pub mod utc;
mod whole;
mod written;

pub use canonical::digest;
pub use cmdline::{CommandLine, CommandLineError, MAX_LINE};
pub use decide::{Cause, Decision, Reason, Verdict};
pub use diff::{Diff, Difference, Relation};
pub use document::{Diagnostic, LoadError, Site};
pub use explain::{Change, Explained, Outcome, WhyNot};
pub use fact::Fact;
pub use facts::{DeviceFact, DeviceKind, Facts};
pub use fields::{Field, INITDATA_DISK, Key, Kind, Point, resource_fault};
pub use input::Input;
pub use lattice::{hex, hex_digit};
pub use least::{LeastError, Seen, least};
pub use limits::{Counter, PageStateLimits, RequestLimit};
pub use merge::LostGrant;
pub use network_rules::NetworkRules;
pub use policy::Policy;
pub use reference::reference;
pub use rule::Rule;
pub use rules::{Grant, Origin, Rules};
pub use runtime_rule::{NetRule, PageRule, RuntimeRule};
pub use schema::json_schema;
pub use starter::starter;
pub use written::WriteError;
