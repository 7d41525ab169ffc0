//! Exports to general policy languages, for systems that speak them: Rego and Cedar.
//!
//! An export decides `allow` exactly as this engine does on the same input; the differential tests
//! run independent engines on random policies and inputs. One request is the whole question, and
//! its answer the whole answer. Each export comes with the form of input it expects
//! ([`rego_input`], [`cedar_request`]): bit masks become lists of bit names, versions packed
//! numbers, times seconds, byte strings hexadecimal, paths end with `/`. The command line, which is
//! a text for this engine, becomes three lists: `launch.cmdline` has its words,
//! `launch.cmdline_seen` all that any reader takes for a word, `launch.cmdline_taken` what is in
//! force ([`crate::CommandLine`]). An invalid fact is denied by every rule, `any` included: no
//! request is made of it. What an export cannot say it refuses ([`CedarError`]).

mod cedar;
mod cedar_input;
mod cedar_schema;
mod rego;
mod rego_input;

pub use cedar::cedar;
pub use cedar_input::{CedarRequest, cedar_request};
pub use cedar_schema::cedar_schema;
pub use rego::rego;
pub use rego_input::rego_input;

use crate::cmdline::CommandLine;
use crate::document::json::quote;
use crate::fact::Fact;
use crate::fields::view;
use crate::fields::{BitNames, Field, Key, Kind};
use crate::lattice::Tcb;
use crate::render;

/// What the Cedar export cannot say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CedarError {
    /// A rule with too many patterns or blocks.
    #[error(
        "{rule}: its condition in Cedar would be {bytes} bytes long, for every element of the list \
         repeats it; shorten the rule or export to Rego"
    )]
    TooLong {
        /// The path of the field whose rule it is.
        rule: &'static str,
        /// About how many bytes it would have.
        bytes: usize,
    },
    /// A list of the input with too many elements.
    #[error("{fact}: {count} elements; a request to Cedar holds {most}: use the Rego export")]
    TooMany {
        /// The path of the fact.
        fact: &'static str,
        /// How many elements the input has.
        count: usize,
        /// How many elements a request holds.
        most: usize,
    },
    /// A fact of the input that is not valid: the engine denies it even where its rule is `any`.
    #[error("{fact}: {why}")]
    Invalid {
        /// The path of the fact.
        fact: &'static str,
        /// Why it is not valid, as the setter said it.
        why: Box<str>,
    },
    /// A number of the input that Cedar does not have.
    #[error("{fact}: {n} is beyond the numbers of Cedar (2^63-1)")]
    Number {
        /// The path of the fact.
        fact: &'static str,
        /// The number in the input.
        n: u64,
    },
}

/// The kinds of rules on a command line, each of which looks at a view of its own.
const VIEWS: [(Kind, &str); 3] = [
    (Kind::Names { list: true }, ""),
    (Kind::NamesForbidden, "_seen"),
    (Kind::NamesRequired, "_taken"),
];

/// The path of what a rule of this field looks at.
fn fact_path(field: &Field) -> String {
    view_path(field.key, field.kind)
}

fn view_path(key: Key, kind: Kind) -> String {
    // Only the command line has views; of every other fact the path is its own, whatever kind of
    // rule looks at it.
    let views = if key == Key::LaunchCmdline { &VIEWS[..] } else { &[] };
    let view = views.iter().find(|(of, _)| *of == kind).map_or("", |(_, view)| view);
    format!("{}{view}", key.path())
}

/// Each view of a command line with its path.
fn views(key: Key, line: &CommandLine) -> impl Iterator<Item = (String, &[Box<str>])> {
    VIEWS.iter().map(move |(kind, _)| (view_path(key, *kind), view(line, *kind)))
}

/// Why a fact, or an element of it, is not valid.
fn invalid(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Invalid(why) => Some(why),
        Fact::List(items) => items.iter().find_map(invalid),
        _ => None,
    }
}

/// Every bit of a mask by name, as the exports write it.
fn bit_list(mask: u64, names: &BitNames) -> Vec<String> {
    render::bit_names(mask, names)
}

/// A TCB as an object in JSON: its generation's name, and a number for each part.
fn tcb_object(tcb: &Tcb) -> String {
    let name = Tcb::GENERATIONS.get(usize::from(tcb.generation)).copied();
    let levels = Tcb::PARTS.iter().zip(tcb.levels);
    let levels: String = levels.map(|(part, level)| format!(",\"{part}\":{level}")).collect();
    format!("{{\"generation\":{}{levels}}}", quote(name.unwrap_or("unknown")))
}

/// The name of a choice, as the exports write it.
fn choice_name(kind: Kind, index: u64) -> &'static str {
    let names: &[&'static str] = match kind {
        Kind::Choice(names) => names,
        _ => &[],
    };
    // An index beyond the list is `unknown`, which no rule but `any` admits.
    let at = usize::try_from(index).unwrap_or(usize::MAX);
    names.get(at).copied().unwrap_or("unknown")
}
