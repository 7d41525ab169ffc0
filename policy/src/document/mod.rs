//! Documents: TOML or JSON text to typed values, with every error at once and its place.
//!
//! Bounds, all tested: [`MAX_DOCUMENT`] bytes, [`MAX_DEPTH`] nested tables or lists,
//! [`MAX_MEMBERS`] members of a list, [`MAX_TEXT`] bytes of a text, [`MAX_BLOCKS`] egress blocks,
//! [`MAX_GRANTS`] grants, [`MAX_ERRORS`] errors reported. Every error of fields is reported at
//! once; of syntax errors all in documents up to 64 KiB, and the first in longer ones.

mod defaults;
mod diagnostic;
mod egress;
mod header;
pub(crate) mod json;
mod load;
mod members;
mod notation;
mod structured;
pub(crate) mod suggest;
mod toml;
pub(crate) mod tree;
mod values;

pub use crate::site::Site;
pub(crate) use diagnostic::Sink;
pub use diagnostic::{Diagnostic, LoadError};
pub(crate) use header::Header;
pub use header::{ENGINE_VERSION, SCHEMA_VERSION};
pub(crate) use load::load;
pub(crate) use members::{byte_string, index_of, normal_path, pad, pattern};
pub(crate) use notation::parse;
pub(crate) use structured::bit;
pub(crate) use tree::{Node, Value};
pub(crate) use values::{format_version, parse_rule, parse_version};

/// Longest document in bytes: 4 MiB.
pub const MAX_DOCUMENT: usize = 4 << 20;
/// Deepest nesting of tables and lists, in either notation.
pub const MAX_DEPTH: usize = 16;
/// Most members of a list; a text has [`MAX_TEXT`] bytes, so a list is bounded by the document.
pub const MAX_MEMBERS: usize = 65_536;
/// Longest text in bytes, of a member or a version.
pub const MAX_TEXT: usize = 4096;
/// Most blocks of `network.egress`, as written and in canonical form.
pub const MAX_BLOCKS: usize = 256;
/// Most grants in `secrets`.
pub const MAX_GRANTS: usize = 1024;
/// Most errors that are reported for one document; the rest is counted.
pub const MAX_ERRORS: usize = 100;
