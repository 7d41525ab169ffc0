//! A policy: the rules of every point and the grants of secrets.

use crate::document::{self, LoadError, Sink};
use crate::fields::{Field, Point, resource_fault};
use crate::rule::Rule;
use crate::rules::{Grant, Origin, Rules};
use std::sync::OnceLock;

/// A complete policy: every field of every point has a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(crate) name: Box<str>,
    pub(crate) description: Box<str>,
    pub(crate) points: Vec<Rules>,
    /// Grants of secrets, sorted by resource; no two overlap.
    pub(crate) grants: Vec<Grant>,
    /// The hash, once somebody has asked for it.
    pub(crate) hash: Hashed,
}

/// A hash that is computed when it is first asked for. A copy computes its own: it may be made to
/// be changed.
#[derive(Debug, Default)]
pub(crate) struct Hashed(OnceLock<[u8; 32]>);

impl Hashed {
    pub(crate) fn or_hash(&self, compute: impl FnOnce() -> [u8; 32]) -> [u8; 32] {
        *self.0.get_or_init(compute)
    }
}

impl Clone for Hashed {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Hashed {
    /// It follows from the rest.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Policy {
    /// Reads a document, TOML or (when it begins with `{`) JSON. `name` is its file name, for
    /// messages.
    ///
    /// # Errors
    /// All errors of the document at once, each with its place.
    pub fn load(text: &str, name: &str) -> Result<Self, LoadError> {
        let mut sink = Sink::new(text, name);
        let loaded = document::parse(text, &mut sink).map(|root| document::load(&root, &mut sink));
        // A layer leaves fields open: taken for a policy it would admit what nobody decided.
        if loaded.as_ref().is_some_and(|loaded| loaded.header.layer) {
            sink.error(0, "layer", "this is a layer, no complete policy; merge it with one");
        }
        sink.finish()?;
        let Some(loaded) = loaded else { return Err(LoadError { diagnostics: Vec::new() }) };
        Ok(Self {
            name: loaded.header.name.unwrap_or_else(|| name.to_owned()).into(),
            description: loaded.header.description.unwrap_or_default().into(),
            points: loaded.points,
            grants: loaded.grants,
            hash: Hashed::default(),
        })
    }

    /// The policy that admits only what the defaults admit.
    #[must_use]
    pub fn defaults(name: &str) -> Self {
        let points = Point::ALL.into_iter().map(Rules::defaults).collect();
        let (description, grants, hash) = (Box::default(), Vec::new(), Hashed::default());
        Self { name: name.into(), description, points, grants, hash }
    }

    /// The name in the document, or its file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The description in the document, empty without one.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Each field of a point with its rule and where that comes from.
    pub fn rules(&self, point: Point) -> impl Iterator<Item = (&'static Field, &Rule, &Origin)> {
        let rules = self.points.get(point.index());
        rules.into_iter().flat_map(move |rules| rules.iter(point.fields()))
    }

    /// The rule of a field by its path.
    #[must_use]
    pub fn rule(&self, path: &str) -> Option<&Rule> {
        let mut all = Point::ALL.into_iter().flat_map(|point| self.rules(point));
        all.find(|(field, _, _)| field.path == path).map(|(_, rule, _)| rule)
    }

    /// The grants of secrets, sorted by resource.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The grant for a resource; none for a text that names no resource.
    #[must_use]
    pub fn grant(&self, resource: &str) -> Option<&Grant> {
        // First of all a name: what is none must not match any pattern.
        if resource_fault(resource).is_some() {
            return None;
        }
        // Sorted, without overlaps: only the last grant that does not sort after the name can match
        // it.
        let after = self.grants.partition_point(|grant| *grant.resource.text() <= *resource);
        let grant = self.grants.get(after.checked_sub(1)?)?;
        grant.resource.matches(resource).then_some(grant)
    }
}
