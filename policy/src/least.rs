//! The strictest policy that admits what was seen: what `casemate policy from` writes.
//!
//! Every field is a lattice, so "strictest" has one meaning: of each fact the least rule that a
//! document can write and that admits it, and of several inputs the join of those. The result is
//! below every policy that admits the same inputs, but for lists of what is denied: there any
//! other member would be stricter, without end, and the default stands.
//!
//! What an input does not say is denied by every rule but `any`, so that is what has to stand
//! there; the document says so at the field, because it is where a reader has to decide.

use crate::document::json::quote;
use crate::document::{ENGINE_VERSION, LoadError, MAX_TEXT, SCHEMA_VERSION};
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{Field, Key, Kind, Point, SECTIONS};
use crate::lattice::{
    Bits, ByteSet, Bytes, Choice, EgressBlock, EgressSet, Lattice, Limit, Pattern, Patterns, Range,
    Required, Tcb, TcbFloors,
};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::{Origin, Rules};

/// Greatest number that a document can write.
const MAX_NUMBER: u64 = i64::MAX as u64;
/// Most facts of one field that a comment shows.
const SHOWN: usize = 3;

/// One decision that was asked, or would be.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// The point that is asked.
    pub point: Point,
    /// What it is asked about.
    pub facts: Facts,
    /// Facts of which only a part is there, as a log keeps a command line. They are taken for not
    /// known.
    pub partial: Vec<Key>,
}

/// Why there is no such policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeastError {
    /// Nothing was seen.
    #[error("there is no decision to write a policy from")]
    Nothing,
    /// Secrets are released by grants, which name claims of a report.
    #[error(
        "a decision about secrets: grants are not derived, since which claims a secret hangs on is its owner's to say"
    )]
    Secrets,
    /// No rule admits a fact that is not valid.
    #[error("{point}: {key} is not valid, and no policy admits it: {why}")]
    Invalid {
        /// The point that is asked.
        point: Point,
        /// The fact's path.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The document would be beyond the limits of documents.
    #[error("the policy cannot be written as one document: {0}")]
    Refused(LoadError),
    /// The inputs contradict what any one policy can admit.
    #[error("{point}: no document admits this: {reasons}")]
    Denied {
        /// The point that is asked.
        point: Point,
        /// The rules that deny.
        reasons: String,
    },
}

/// Writes the strictest document that admits all of these, with what was found as comments.
/// `name` is the policy's, `source` what it was made from.
///
/// # Errors
/// [`LeastError`]; a document is handed out only when it admits every one of `seen`.
pub fn least(seen: &[Seen], name: &str, source: &str) -> Result<String, LeastError> {
    if seen.is_empty() {
        return Err(LeastError::Nothing);
    }
    let mut policy = Policy::defaults(name);
    for one in seen {
        check(one)?;
    }
    for point in asked(seen) {
        let Some(rules) = policy.points.get_mut(point.index()) else { continue };
        for (index, field) in point.fields().iter().enumerate() {
            if let Some(rule) = of_field(field, index, point, seen) {
                rules.state(index, rule, Origin::Default);
            }
        }
    }
    let unasked = running(&mut policy, seen);
    let text = write(&policy, seen, source, unasked);
    // Read back and asked again: what is handed out is known to admit what it was made from.
    let read = Policy::load(&text, name).map_err(LeastError::Refused)?;
    for one in seen.iter().filter(|one| one.partial.is_empty()) {
        let decision = read.decide(one.point, &one.facts);
        if !decision.is_allow() {
            return Err(LeastError::Denied { point: one.point, reasons: decision.to_string() });
        }
    }
    Ok(text)
}

/// A confidential guest shares memory before it can do anything, and how much is not known before
/// it runs. Without rules for it the policy would admit a guest that is ended at its first page; so
/// it has those of the built-in policy, and says so.
fn running(policy: &mut Policy, seen: &[Seen]) -> bool {
    let confidential = |one: &Seen| one.facts.get(Key::LaunchProtection) == Some(&Fact::Number(0));
    let asked = asked(seen).any(|point| point == Point::PageState);
    if asked || !seen.iter().any(|one| one.point == Point::Launch && confidential(one)) {
        return false;
    }
    let strict = Policy::builtin_strict();
    let at = Point::PageState.index();
    if let (Some(own), Some(given)) = (policy.points.get_mut(at), strict.points.get(at)) {
        own.clone_from(given);
    }
    true
}

/// The points that are asked, in their order.
fn asked(seen: &[Seen]) -> impl Iterator<Item = Point> {
    Point::ALL.into_iter().filter(|point| seen.iter().any(|one| one.point == *point))
}

fn check(seen: &Seen) -> Result<(), LeastError> {
    if seen.point == Point::Secrets {
        return Err(LeastError::Secrets);
    }
    let fault = |fact: &Fact| match fact {
        Fact::Invalid(why) => Some(why.to_string()),
        Fact::List(items) => items.iter().find_map(|item| match item {
            Fact::Invalid(why) => Some(why.to_string()),
            _ => None,
        }),
        _ => None,
    };
    // Of this point only: a fact that it does not ask about decides nothing.
    let mut own = seen.point.fields().iter().filter(|field| field.key != Key::Setting);
    let found = own.find_map(|field| Some((field.key, fault(seen.facts.get(field.key)?)?)));
    found.map_or(Ok(()), |(key, why)| {
        Err(LeastError::Invalid { point: seen.point, key: key.path(), why })
    })
}

/// The least rule of a field that admits what was seen; `None` where the default stands.
fn of_field(field: &Field, index: usize, point: Point, seen: &[Seen]) -> Option<Rule> {
    if field.key == Key::Setting {
        return None;
    }
    let default = Rules::defaults(point).rules.into_iter().nth(index)?;
    let mut out: Option<Rule> = None;
    for one in seen.iter().filter(|one| one.point == point) {
        let known = one.facts.get(field.key).filter(|_| !one.partial.contains(&field.key));
        let rule = known.and_then(|fact| of_fact(field.kind, fact, &default));
        let rule = rule.unwrap_or_else(|| field.kind.any());
        out = match out {
            None => Some(rule),
            Some(before) => Some(before.join(&rule).unwrap_or_else(|| field.kind.any())),
        };
    }
    out.map(|rule| written(field.kind, rule))
}

/// The rule as a document can write it: what has no notation is `any`.
fn written(kind: Kind, rule: Rule) -> Rule {
    match (kind, &rule) {
        // "Both" of a flag is its `any`; so is every level but none.
        (Kind::Flag | Kind::FlagEach, Rule::Choice(c)) if c.admits(0) && c.admits(1) => kind.any(),
        (Kind::Level(_), Rule::Range(range)) if Rule::Range(*range) == kind.any() => kind.any(),
        _ => rule,
    }
}

/// The least rule that admits the fact; `None` where only `any` does.
fn of_fact(kind: Kind, fact: &Fact, default: &Rule) -> Option<Rule> {
    match (kind, fact) {
        (Kind::NamesForbidden | Kind::BytesDenied(_), fact) => {
            default.admits(fact).then(|| default.clone())
        }
        (Kind::NamesRequired, Fact::CommandLine(line)) => {
            Some(Rule::Required(required(line.taken().iter().map(|word| &**word))))
        }
        (Kind::NamesRequired, Fact::List(items)) => {
            Some(Rule::Required(required(items.iter().filter_map(text))))
        }
        (Kind::Names { .. }, Fact::CommandLine(line)) => Some(Rule::Names(
            line.words().iter().fold(Patterns::bottom(), |all, word| all.join(&exactly(word))),
        )),
        (_, Fact::List(items)) => {
            items.iter().try_fold(kind.nothing(), |all, item| all.join(&of_one(kind, item)?))
        }
        (_, one) => of_one(kind, one),
    }
}

fn text(fact: &Fact) -> Option<&str> {
    match fact {
        Fact::Text(text) => Some(text),
        _ => None,
    }
}

/// All of these, but those that no member of a list can say.
fn required<'t>(texts: impl Iterator<Item = &'t str>) -> Required {
    let sayable = texts.filter(|text| text.len() <= MAX_TEXT);
    Required::all(sayable.map(Into::into))
}

/// The least set of patterns with this text. A star inside a text cannot be written, for a pattern
/// has one at its end only: then it is what stands before it, and anything.
fn exactly(text: &str) -> Patterns {
    let literal = text.split('*').next().unwrap_or_default();
    // With its star it is one byte longer.
    let bounded = literal.len() < MAX_TEXT;
    match literal {
        _ if !bounded => Patterns::top(),
        "" if !text.is_empty() => Patterns::top(),
        // As members of a list these two words are refused, because they look like the wildcard.
        "any" | "nothing" => Patterns::new(vec![Pattern::prefix(literal)]),
        _ if literal.len() < text.len() => Patterns::new(vec![Pattern::prefix(literal)]),
        _ => Patterns::new(vec![Pattern::exact(literal)]),
    }
}

/// The least directory with this path, which ends in `/` as the fact does: the path itself.
fn below(path: &str) -> Patterns {
    // A star cannot be written in a directory; the one that holds it can.
    let whole = path
        .find('*')
        .and_then(|at| path.get(..at))
        .map_or(path, |before| before.rfind('/').and_then(|at| before.get(..=at)).unwrap_or("/"));
    if whole == "/" || whole.len() > MAX_TEXT {
        return Patterns::top();
    }
    Patterns::new(vec![Pattern::prefix(whole)])
}

fn of_one(kind: Kind, fact: &Fact) -> Option<Rule> {
    let ceiling = |n: u64| if n > MAX_NUMBER { u64::MAX } else { n };
    let floor = |n: u64| n.min(MAX_NUMBER);
    Some(match (kind, fact) {
        (Kind::Floor, Fact::Number(n)) => Rule::Range(Range::at_least(floor(*n))),
        (Kind::Version, Fact::Number(n)) => Rule::Range(Range::at_least(*n)),
        (Kind::Ceiling | Kind::CeilingEach, Fact::Number(n)) => {
            Rule::Range(Range::at_most(ceiling(*n)))
        }
        (Kind::Interval, Fact::Number(n)) => Rule::Range(Range::new(floor(*n), ceiling(*n))),
        (Kind::Level(names), Fact::Number(n)) => {
            let known = usize::try_from(*n).is_ok_and(|n| n < names.len());
            Rule::Range(Range::at_most(known.then_some(*n)?))
        }
        (Kind::Flag | Kind::FlagEach, Fact::Number(n @ (0 | 1))) => {
            Rule::Choice(Choice::only([*n]))
        }
        (Kind::Choice(names), Fact::Number(n)) => {
            let known = usize::try_from(*n).is_ok_and(|n| n < names.len());
            Rule::Choice(Choice::only([known.then_some(*n)?]))
        }
        (Kind::BytesAllowed(_) | Kind::HostData, Fact::Bytes(bytes)) => {
            Rule::Bytes(ByteSet::only(vec![*bytes]))
        }
        (Kind::Roots(words), Fact::Text(word)) if words.contains(&&**word) => {
            Rule::Names(Patterns::new(vec![Pattern::exact(word)]))
        }
        (Kind::Roots(_), Fact::Text(path)) => Rule::Names(below(path)),
        (Kind::Names { .. }, Fact::Text(text)) => Rule::Names(exactly(text)),
        (Kind::Bits(names), Fact::Number(mask)) => {
            let set = mask & !names.ignore;
            Rule::Bits(Bits::new(set, !set & !names.ignore))
        }
        (Kind::Tcb, Fact::Tcb(tcb)) => Rule::Tcb(floors(tcb)?),
        (Kind::Egress, Fact::Endpoint(to)) => Rule::Egress(EgressSet::new(&[EgressBlock {
            first: to.address,
            last: to.address,
            ports: (to.port, to.port),
            protocol: to.protocol,
        }])),
        (Kind::Limit, Fact::Usage(usage)) => {
            Rule::Limit(Limit::new(ceiling(usage.in_second.max(1)), ceiling(usage.total.max(1))))
        }
        _ => return None,
    })
}

/// The levels of a platform as its generation's floor; `None` for a generation that has no name.
fn floors(tcb: &Tcb) -> Option<TcbFloors> {
    let generation = usize::from(tcb.generation);
    Tcb::GENERATIONS.get(generation)?;
    Some(TcbFloors::bottom().with(generation, tcb.levels))
}

fn write(policy: &Policy, seen: &[Seen], source: &str, running: bool) -> String {
    let mut out = format!(
        "# The strictest policy that admits {}: {}.\n\
         # Each field has what was found. `any` stands where nothing is known, or nothing stricter can be\n\
         # written: those are the lines to read. What the sections below do not have keeps its default,\n\
         # which is strict. Then: casemate policy lint FILE\n\n\
         schema_version = {SCHEMA_VERSION}\nmin_engine = \"{ENGINE_VERSION}\"\nname = {}\n",
        if seen.len() == 1 {
            "one decision".to_owned()
        } else {
            format!("{} decisions", seen.len())
        },
        comment(source),
        quote(policy.name()),
    );
    for (section, about) in SECTIONS {
        let prefix = format!("{section}.");
        let mut body = String::new();
        for point in asked(seen) {
            for (field, rule, _) in policy.rules(point).filter(|(f, ..)| f.key != Key::Setting) {
                if let Some(name) = field.path.strip_prefix(&prefix) {
                    body.push_str(&line(name, field, rule, point, seen));
                }
            }
        }
        if running && section == "runtime" {
            for (field, rule, _) in policy.rules(Point::PageState) {
                let name = field.path.strip_prefix(&prefix).unwrap_or(field.path);
                let rule = render::rule(field.kind, rule);
                body.push_str(&format!(
                    "# {}\n#   asked of a running guest, not seen here: as builtin:strict has it\n{name} = {rule}\n",
                    field.meaning
                ));
            }
        }
        if !body.is_empty() {
            out.push_str(&format!("\n# {about}\n[{section}]\n{body}"));
        }
    }
    out
}

fn line(name: &str, field: &Field, rule: &Rule, point: Point, seen: &[Seen]) -> String {
    let mut shown: Vec<String> = Vec::new();
    let mut unknown = false;
    for one in seen.iter().filter(|one| one.point == point) {
        match one.facts.get(field.key).filter(|_| !one.partial.contains(&field.key)) {
            None => unknown = true,
            Some(fact) => {
                let text = render::brief_fact(field.kind, fact);
                if !shown.contains(&text) && shown.len() <= SHOWN {
                    shown.push(text);
                }
            }
        }
    }
    let more = if shown.len() > SHOWN { ", and others" } else { "" };
    shown.truncate(SHOWN);
    let found = match (shown.is_empty(), unknown) {
        (true, _) => format!("not known here. {}", field.without),
        (false, true) => format!("found {}{more}, and once not known", shown.join(", ")),
        (false, false) => format!("found {}{more}", shown.join(", ")),
    };
    let initdata = |one: &Seen| one.facts.get(field.key) == Some(&Fact::Bytes(Bytes::INITDATA));
    let place = match seen.iter().any(initdata) {
        true => {
            ", of the document that was asked then: this one has to lie in the initdata instead"
        }
        false => "",
    };
    let (found, rule) = (format!("{found}{place}"), render::rule(field.kind, rule));
    format!("# {}\n#   {}\n{name} = {rule}\n", field.meaning, comment(&found))
}

/// Text in a comment of one line: what would end it, or mislead or steer who reads it, is shown
/// otherwise.
fn comment(text: &str) -> String {
    casemate_foreign_text::line(text).at_most(MAX_TEXT).to_string()
}
