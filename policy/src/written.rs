//! A policy as a document that can be kept and read again: with its name, without what is a default
//! anyway.
//!
//! The canonical form ([`Policy::canonical`]) is what is hashed; it has no name and states every
//! field. A merged policy written so would lose its names, and be full of rules that its own check
//! calls useless.

use crate::devices;
use crate::document::json::quote;
use crate::document::{LoadError, SCHEMA_VERSION};
use crate::fields::{Field, GRANT_FIELDS, Point, SECTIONS};
use crate::lattice::{Choice, Lattice, Tcb, TcbFloors};
use crate::policy::Policy;
use crate::render;
use crate::rule::Rule;
use crate::rules::{Origin, Rules};

/// A policy that no document can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The document would be refused when it is read.
    #[error("the policy cannot be written as one document: {0}")]
    Refused(LoadError),
    /// The document would be read as another policy.
    #[error("the policy is read as another one when it is written: {0}")]
    Differs(String),
}

/// Choices of generations, with the patch level floors that belong to them.
const GENERATIONS: [(&str, &[&str]); 2] = [
    ("host.generations", &["host.tcb"]),
    ("attestation.generations", &["attestation.reported_tcb", "attestation.launch_tcb"]),
];

impl Policy {
    /// The policy as a document. What can never matter in it (the directories of devices of which
    /// none is admitted, floors of a generation that is not) is left out: it decides alike on every
    /// input that does not contradict itself, and more strictly on those that do.
    ///
    /// # Errors
    /// When the document would be beyond the limits of documents, such as 256 egress blocks.
    pub fn to_document(&self) -> Result<(String, Self), WriteError> {
        // Written, read back and compared by hash: a document is handed out only when it is this
        // policy.
        let tidy = self.tidied();
        let text = tidy.write();
        let read = Self::load(&text, &self.name).map_err(WriteError::Refused)?;
        if read.hash() != tidy.hash() {
            let fields = tidy.diff(&read).differences.into_iter().map(|d| d.rule);
            return Err(WriteError::Differs(fields.collect::<Vec<_>>().join(", ")));
        }
        Ok((text, read))
    }

    fn tidied(&self) -> Self {
        let mut out = self.clone();
        let defaults = Rules::defaults(Point::Devices);
        if let Some(rules) = out.points.get_mut(Point::Devices.index()) {
            let fields = Point::Devices.fields();
            for (index, (field, default)) in fields.iter().zip(&defaults.rules).enumerate() {
                let own = || self.rules(Point::Devices).map(|(field, rule, _)| (field, rule));
                // A rule may be left out only in favour of a default that is stricter or equal, and
                // where it decides nothing anyway.
                let stricter = self.rule(field.path).is_some_and(|rule| default.le(rule));
                if stricter && devices::without_effect(field, own()) {
                    rules.state(index, default.clone(), Origin::Default);
                }
            }
        }
        for (choice, floors) in GENERATIONS {
            out.tidy_generations(choice, floors);
        }
        out
    }

    /// Leaves only generations that are chosen and have every floor.
    fn tidy_generations(&mut self, choice: &str, floors: &[&str]) {
        let Some(Rule::Choice(chosen)) = self.rule(choice) else { return };
        let mut chosen = *chosen;
        let all: Vec<TcbFloors> = floors
            .iter()
            .filter_map(|path| match self.rule(path) {
                Some(Rule::Tcb(tcb)) => Some(*tcb),
                _ => None,
            })
            .collect();
        // `any` names no generation, and what admits nothing is closed as a whole: nothing to tidy.
        let named = |tcb: &TcbFloors| !tcb.is_any() && !tcb.is_empty();
        if chosen.is_any() || chosen.is_empty() || !all.iter().all(named) {
            return;
        }
        // A generation is kept when it is chosen and has every floor; without a floor it is never
        // admitted.
        let indices = (0u64..).zip(0..Tcb::GENERATIONS.len());
        let both = indices.filter(|(index, at)| {
            let floor = |tcb: &TcbFloors| tcb.floors().get(*at).is_some_and(Option::is_some);
            chosen.admits(*index) && all.iter().all(floor)
        });
        let kept: Vec<(u64, usize)> = both.collect();
        if kept.is_empty() {
            return;
        }
        chosen = chosen.meet(&Choice::only(kept.iter().map(|(index, _)| *index)));
        self.restate(choice, Rule::Choice(chosen));
        for (path, tcb) in floors.iter().zip(&all) {
            let levels = kept.iter().filter_map(|(_, at)| Some((*at, (*tcb.floors().get(*at)?)?)));
            let fewer = levels.fold(TcbFloors::bottom(), |out, (at, floor)| out.with(at, floor));
            self.restate(path, Rule::Tcb(fewer));
        }
    }

    /// Replaces the rule of a field where it is.
    fn restate(&mut self, path: &str, rule: Rule) {
        for (point, rules) in Point::ALL.into_iter().zip(&mut self.points) {
            let index = point.fields().iter().position(|field| field.path == path);
            if let Some(index) = index
                && let Some(origin) = rules.origins.get(index).cloned()
            {
                rules.state(index, rule, origin);
                return;
            }
        }
    }

    fn write(&self) -> String {
        let mut out = format!("schema_version = {SCHEMA_VERSION}\nmin_engine = \"0.1.0\"\n");
        for (key, text) in [("name", self.name()), ("description", self.description())] {
            if !text.is_empty() {
                out.push_str(&format!("{key} = {}\n", quote(text)));
            }
        }
        for (section, _) in SECTIONS {
            let prefix = format!("{section}.");
            let mut body = String::new();
            for point in Point::ALL {
                let defaults = Rules::defaults(point);
                let rules = self.rules(point).zip(&defaults.rules);
                // What equals the default need not be written.
                for ((field, rule, _), default) in rules.filter(|((_, own, _), d)| own != d) {
                    if let Some(name) = field.path.strip_prefix(&prefix) {
                        body.push_str(&line(name, field, rule));
                    }
                    debug_assert!(rule != default);
                }
            }
            if !body.is_empty() {
                out.push_str(&format!("\n[{section}]\n{body}"));
            }
        }
        let defaults = Rules::grant_defaults();
        for grant in &self.grants {
            out.push_str(&format!("\n[secrets.{}]\n", quote(&grant.resource.to_string())));
            let rules = grant.rules.iter(GRANT_FIELDS).zip(&defaults.rules);
            for ((field, rule, _), _) in rules.filter(|((_, own, _), d)| own != d) {
                out.push_str(&line(field.name(), field, rule));
            }
        }
        out
    }
}

fn line(name: &str, field: &Field, rule: &Rule) -> String {
    format!("{name} = {}\n", render::rule(field.kind, rule))
}
