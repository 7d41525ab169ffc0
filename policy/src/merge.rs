//! Layers: the operator's policy and the tenant's on top of it. A layer can only tighten.

use crate::document::{self, LoadError, Sink};
use crate::fields::{Field, GRANT_FIELDS, Point};
use crate::lattice::Pattern;
use crate::policy::{Hashed, Policy};
use crate::rules::{Grant, Origin, Rules};

impl Policy {
    /// Reads a layer: a document with `layer = true`, whose unstated fields are left to the policy
    /// that it is merged with. A complete policy is taken as a layer too.
    ///
    /// # Errors
    /// All errors of the document at once, each with its place.
    pub fn load_layer(text: &str, name: &str) -> Result<Self, LoadError> {
        let mut sink = Sink::new(text, name);
        let loaded = document::parse(text, &mut sink).map(|root| document::load(&root, &mut sink));
        sink.finish()?;
        let Some(mut loaded) = loaded else { return Err(LoadError { diagnostics: Vec::new() }) };
        // What a layer does not state is left open, so that the meet takes the other side's rule.
        if loaded.header.layer {
            for (point, rules) in Point::ALL.into_iter().zip(&mut loaded.points) {
                rules.open_defaults(point.fields());
            }
            for grant in &mut loaded.grants {
                grant.rules.open_defaults(GRANT_FIELDS);
            }
            // Without a section of secrets a layer has no opinion on grants: one grant of
            // everything, open, which the meet narrows to the policy's own.
            if !loaded.header.secrets {
                let mut rules = Rules::grant_defaults();
                rules.open_defaults(GRANT_FIELDS);
                loaded.grants.push(Grant { resource: Pattern::prefix(""), rules });
            }
        }
        Ok(Self {
            name: loaded.header.name.unwrap_or_else(|| name.to_owned()).into(),
            description: loaded.header.description.unwrap_or_default().into(),
            points: loaded.points,
            grants: loaded.grants,
            hash: Hashed::default(),
        })
    }

    /// The policy that admits exactly what both admit. A denial does the stricter of the two
    /// actions.
    #[must_use]
    pub fn merge(&self, layer: &Self) -> Self {
        let points = self.points.iter().zip(&layer.points).map(|(a, b)| a.meet(b)).collect();
        let mut grants = Vec::new();
        for a in &self.grants {
            for b in &layer.grants {
                // Patterns are prefixes or texts: two of them meet in the one that the other
                // covers, or not at all.
                let resource = if a.resource.covers(&b.resource) {
                    &b.resource
                } else if b.resource.covers(&a.resource) {
                    &a.resource
                } else {
                    continue;
                };
                grants.push(Grant { resource: resource.clone(), rules: a.rules.meet(&b.rules) });
            }
        }
        // Sorted, as `grant` looks grants up; none overlap, as those of each side did not.
        grants.sort_by(|a, b| a.resource.cmp(&b.resource));
        let name = format!("{} + {}", self.name, layer.name).into();
        let (description, hash) = (self.description.clone(), Hashed::default());
        Self { name, description, points, grants, hash }
    }

    /// The stated fields of `layer` that admit more than this policy: there the merge keeps this
    /// policy.
    #[must_use]
    pub fn not_tightened_by(&self, layer: &Self) -> Vec<&'static str> {
        let mut out = Vec::new();
        for point in Point::ALL {
            for ((field, own, _), (_, theirs, origin)) in self.rules(point).zip(layer.rules(point))
            {
                // A default states nothing, and `any` asks for nothing: neither is an attempt to
                // loosen.
                if *origin != Origin::Default && !theirs.is_loosest(field.kind) && !theirs.le(own) {
                    out.push(field.path);
                }
            }
        }
        out
    }
}

/// Resources that one side of a merge grants, and the merge grants only in part, or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostGrant {
    /// The pattern of the grant that is lost.
    pub resource: String,
    /// Whether it is a grant of the policy below; else of the layer.
    pub below: bool,
    /// What is left of it, as patterns.
    pub left: Vec<String>,
}

impl std::fmt::Display for LostGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (own, other) = if self.below {
            ("the policy below", "the layer")
        } else {
            ("the layer", "the policy below")
        };
        let resource = &self.resource;
        if self.left.is_empty() {
            write!(f, "the grant {resource:?} of {own} is lost: {other} grants nothing there")
        } else {
            let left = self.left.join(", ");
            write!(f, "the grant {resource:?} of {own} is narrowed to {left} by {other}")
        }
    }
}

impl Policy {
    /// The grants that a merge with `layer` loses. That both have to grant a resource is what a
    /// merge means; that nobody is told is not.
    #[must_use]
    pub fn grants_lost_in(&self, layer: &Self) -> Vec<LostGrant> {
        let lost = |own: &Self, other: &Self, below: bool| -> Vec<LostGrant> {
            let narrowed = own.grants.iter().filter_map(|grant| {
                let resource = &grant.resource;
                // Covered as a whole by a grant of the other side: all of it is left.
                if other.grants.iter().any(|theirs| theirs.resource.covers(resource)) {
                    return None;
                }
                let left = other.grants.iter().filter(|theirs| resource.covers(&theirs.resource));
                let left = left.map(|theirs| theirs.resource.to_string()).collect();
                Some(LostGrant { resource: resource.to_string(), below, left })
            });
            narrowed.collect()
        };
        let mut out = lost(self, layer, true);
        // What a layer leaves to the policy below is no grant of its own.
        out.extend(lost(layer, self, false).into_iter().filter(|lost| lost.resource != "*"));
        out
    }
}

impl Rules {
    /// Leaves every unstated field open.
    fn open_defaults(&mut self, fields: &'static [Field]) {
        let slots = self.rules.iter_mut().zip(&self.origins).zip(fields);
        for ((rule, origin), field) in slots {
            if *origin == Origin::Default {
                *rule = field.kind.any();
            }
        }
    }

    fn meet(&self, other: &Self) -> Self {
        let pairs = self.rules.iter().zip(&other.rules);
        // Rules of one field have one lattice, so the meet is there.
        let rules = pairs.map(|(a, b)| a.meet(b).unwrap_or_else(|| a.clone())).collect();
        let origins = self.origins.iter().zip(&other.origins).map(|(a, b)| a.with(b)).collect();
        Self { rules, origins, origin: self.origin.with(&other.origin) }
    }
}

impl Origin {
    fn with(&self, other: &Self) -> Self {
        match (self, other) {
            // One place is enough where both say the same or one says nothing; else both are named,
            // in order.
            (a, b) if a == b => a.clone(),
            (Self::Default, one) | (one, Self::Default) => one.clone(),
            (a, b) => {
                let mut layers = Vec::new();
                for origin in [a, b] {
                    match origin {
                        Self::Layers(inner) => layers.extend(inner.iter().cloned()),
                        one => layers.push(one.clone()),
                    }
                }
                Self::Layers(layers)
            }
        }
    }
}
