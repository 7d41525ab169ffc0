//! A policy: the rules of every point, where each was stated, and the grants of secrets.

use crate::document::{self, LoadError, Sink, Site, default_rule};
use crate::fields::{Field, GRANT_FIELDS, Point};
use crate::lattice::Pattern;
use crate::rule::Rule;
use std::sync::LazyLock;

/// Where a rule comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Not stated; the documented default.
    Default,
    /// Stated in a document.
    Stated(Site),
    /// The meet of the rules of several layers.
    Layers(Vec<Origin>),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Stated(site) => site.fmt(f),
            Self::Layers(layers) => {
                for (index, layer) in layers.iter().enumerate() {
                    write!(f, "{}{layer}", if index == 0 { "" } else { " and " })?;
                }
                Ok(())
            }
        }
    }
}

/// The rules of one point or grant, in the order of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    pub(crate) rules: Vec<Rule>,
    pub(crate) origins: Vec<Origin>,
    /// Where the table is, for a grant.
    pub(crate) origin: Origin,
}

/// Defaults of every point, parsed once.
static DEFAULTS: LazyLock<Vec<Rules>> = LazyLock::new(|| {
    Point::ALL.into_iter().map(|point| Rules::from_fields(point.fields())).collect()
});
static GRANT_DEFAULTS: LazyLock<Rules> = LazyLock::new(|| Rules::from_fields(GRANT_FIELDS));

impl Rules {
    fn from_fields(fields: &[Field]) -> Self {
        Self {
            rules: fields.iter().map(default_rule).collect(),
            origins: fields.iter().map(|_| Origin::Default).collect(),
            origin: Origin::Default,
        }
    }

    /// The defaults of a point.
    pub(crate) fn defaults(point: Point) -> Self {
        DEFAULTS.get(point.index()).cloned().unwrap_or_else(|| Self::from_fields(point.fields()))
    }

    /// The defaults of a grant.
    pub(crate) fn grant_defaults() -> Self {
        GRANT_DEFAULTS.clone()
    }

    /// Replaces the rule at `index`.
    pub(crate) fn state(&mut self, index: usize, rule: Rule, origin: Origin) {
        if let (Some(slot), Some(place)) = (self.rules.get_mut(index), self.origins.get_mut(index))
        {
            *slot = rule;
            *place = origin;
        }
    }

    /// Each field with its rule and where that comes from.
    pub fn iter<'r>(
        &'r self,
        fields: &'static [Field],
    ) -> impl Iterator<Item = (&'static Field, &'r Rule, &'r Origin)> {
        fields.iter().zip(&self.rules).zip(&self.origins).map(|((f, r), o)| (f, r, o))
    }
}

/// Which claims release the secrets below a resource path.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub(crate) resource: Pattern,
    pub(crate) rules: Rules,
}

impl Grant {
    /// The resources it releases.
    #[must_use]
    pub fn resource(&self) -> &Pattern {
        &self.resource
    }

    /// Each field with its rule and where that comes from.
    pub fn rules(&self) -> impl Iterator<Item = (&'static Field, &Rule, &Origin)> {
        self.rules.iter(GRANT_FIELDS)
    }

    /// The path of one of its fields: `secrets."db/*".uses`.
    #[must_use]
    pub fn path(&self, field: &Field) -> String {
        format!("secrets.{:?}.{}", self.resource.to_string(), field.name())
    }
}

/// A complete policy.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub(crate) name: Box<str>,
    pub(crate) description: Box<str>,
    pub(crate) points: Vec<Rules>,
    /// Sorted by resource; no two overlap.
    pub(crate) grants: Vec<Grant>,
}

impl Policy {
    /// Reads a document, TOML or (when it begins with `{`) JSON. `name` is its file name, for messages.
    ///
    /// # Errors
    /// All errors of the document at once, each with its place.
    pub fn load(text: &str, name: &str) -> Result<Self, LoadError> {
        let mut sink = Sink::new(text, name);
        let loaded = document::parse(text, &mut sink).map(|root| document::load(&root, &mut sink));
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
        })
    }

    /// The policy that admits only what the defaults admit.
    #[must_use]
    pub fn defaults(name: &str) -> Self {
        let points = Point::ALL.into_iter().map(Rules::defaults).collect();
        Self { name: name.into(), description: Box::default(), points, grants: Vec::new() }
    }

    /// The name in the document, or its file name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The description in the document.
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

    /// The grant for a resource.
    #[must_use]
    pub fn grant(&self, resource: &str) -> Option<&Grant> {
        let after = self.grants.partition_point(|grant| *grant.resource.text() <= *resource);
        let grant = self.grants.get(after.checked_sub(1)?)?;
        grant.resource.matches(resource).then_some(grant)
    }
}
