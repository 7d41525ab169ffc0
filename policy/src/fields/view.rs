//! Which reading of a command line each kind of rule looks at.

use super::Kind;
use crate::cmdline::CommandLine;

/// What a rule of this kind looks at in a command line.
pub(crate) fn view(line: &CommandLine, kind: Kind) -> &[Box<str>] {
    match kind {
        Kind::NamesForbidden => line.seen(),
        Kind::NamesRequired => line.taken(),
        _ => line.words(),
    }
}
