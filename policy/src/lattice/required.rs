//! Texts that a list must contain.

use super::Lattice;

/// Admits a list of texts that contains all of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Required(Option<Box<[Box<str>]>>);

impl Required {
    /// All of these must be there; none at all when there are none.
    #[must_use]
    pub fn all(texts: impl IntoIterator<Item = Box<str>>) -> Self {
        // Sorted and unique, so that equal demands are equal values.
        let mut texts: Vec<Box<str>> = texts.into_iter().collect();
        texts.sort_unstable();
        texts.dedup();
        Self(Some(texts.into()))
    }

    /// The required texts, sorted; `None` when no list is admitted.
    #[must_use]
    pub fn texts(&self) -> Option<&[Box<str>]> {
        self.0.as_deref()
    }

    /// The first required text that `present` does not have.
    pub fn missing(&self, present: impl Fn(&str) -> bool) -> Option<&str> {
        self.0.as_deref()?.iter().map(|t| &**t).find(|t| !present(t))
    }
}

impl Lattice for Required {
    fn top() -> Self {
        Self(Some(Box::default()))
    }
    fn bottom() -> Self {
        Self(None)
    }
    fn meet(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            // To contain both sets of texts is to contain their union, and less is demanded by what
            // both demand.
            (Some(a), Some(b)) => Self::all(a.iter().chain(b).cloned()),
            _ => Self(None),
        }
    }
    fn join(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => Self::all(a.iter().filter(|t| b.contains(t)).cloned()),
            (None, some) | (some, None) => Self(some.clone()),
        }
    }
    fn le(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            // More demands are stricter: every text of the other has to be demanded here.
            (None, _) => true,
            (Some(_), None) => false,
            (Some(a), Some(b)) => b.iter().all(|t| a.binary_search(t).is_ok()),
        }
    }
}
