//! The rules of a point or of a grant, and where each was stated.

use crate::fields::{Field, GRANT_FIELDS};
use crate::lattice::Pattern;
use crate::rule::Rule;
use crate::site::Site;

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

impl Rules {
    /// Replaces the rule at `index`, and where it comes from.
    pub(crate) fn state(&mut self, index: usize, rule: Rule, origin: Origin) {
        // Both lists are as long as the fields, so an index of one is one of the other.
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
    /// The resources whose secrets it releases, as one pattern.
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
