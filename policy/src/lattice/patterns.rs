//! Sets of texts given by anchored globs: a literal, or a literal followed by one final `*`.
//!
//! Nothing more general is offered: with these, intersection and inclusion are exact and a look-up
//! is one binary search. A set is kept as a sorted list in which no pattern covers another.

use super::Lattice;

/// The first eight bytes of a text as a number, the missing ones zero.
#[inline]
// Most words of a command line differ in their first eight bytes, so one comparison of numbers
// settles most questions.
fn head(text: &str) -> u64 {
    let bytes = text.as_bytes();
    if let Some(first) = bytes.first_chunk::<8>() {
        return u64::from_le_bytes(*first);
    }
    // Four to seven bytes are two times four that overlap.
    if let (Some(low), Some(high)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let (low, high) = (u32::from_le_bytes(*low), u32::from_le_bytes(*high));
        let behind = 8 * (bytes.len() - 4);
        return u64::from(low) | u64::from(high) << behind;
    }
    bytes.iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte))
}

/// Up to so many patterns are tried one by one: their heads tell most of them off without a look at
/// the text.
const FEW: usize = 16;

/// One anchored glob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pattern {
    text: Box<str>,
    prefix: bool,
    /// The head of the text, and which of its bits are text.
    head: u64,
    mask: u64,
}

impl Pattern {
    /// Matches exactly `text`, and nothing longer.
    #[must_use]
    pub fn exact(text: &str) -> Self {
        Self::new(text, false)
    }

    /// Everything that begins with `text`.
    #[must_use]
    pub fn prefix(text: &str) -> Self {
        Self::new(text, true)
    }

    fn new(text: &str, prefix: bool) -> Self {
        let mask = match text.len() {
            // Of a short prefix only so many bytes are compared. A prefix of eight or more has a
            // whole head, and is compared further on.
            short @ 0..8 if prefix => (1u64 << (8 * short)) - 1,
            // An exact text ends where it ends: the missing bytes are zero on both sides.
            _ => u64::MAX,
        };
        Self { text: text.into(), prefix, head: head(text), mask }
    }

    /// The literal part, without the star.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it ends with `*`.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        self.prefix
    }

    /// Whether `text` matches: the head first, then what the head does not settle.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        head(text) & self.mask == self.head && self.matches_behind(text)
    }

    /// [`Pattern::matches`] of a text whose head does.
    #[inline(never)]
    fn matches_behind(&self, text: &str) -> bool {
        // With eight bytes or fewer the head has compared all of the literal; only the length is
        // open. A text with zero bytes at its end is told apart by it.
        match (self.prefix, self.text.len()) {
            (true, 0..=8) => text.len() >= self.text.len(),
            (true, _) => text.starts_with(&*self.text),
            (false, 0..=8) => text.len() == self.text.len(),
            (false, _) => *self.text == *text,
        }
    }

    /// Whether everything that `other` matches `self` matches too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // An exact pattern covers only itself; a prefix covers all that begins so, patterns with a
        // star too.
        if self.prefix { other.text.starts_with(&*self.text) } else { self == other }
    }

    /// A text that matches: the literal itself.
    #[must_use]
    pub fn sample(&self) -> String {
        self.text.to_string()
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.text, if self.prefix { "*" } else { "" })
    }
}

/// Admits a text that matches one of the patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns(Box<[Pattern]>);

impl Patterns {
    /// The set of these patterns.
    #[must_use]
    pub fn new(mut patterns: Vec<Pattern>) -> Self {
        // A prefix sorts after its equal literal; it has to come first to cover it.
        patterns.sort_unstable_by(|a, b| a.text.cmp(&b.text).then(b.prefix.cmp(&a.prefix)));
        // In this order what covers a pattern stands before it, and nothing that is kept lies
        // between: one comparison with the last kept one is enough.
        let mut kept: Vec<Pattern> = Vec::with_capacity(patterns.len());
        for pattern in patterns {
            if !kept.last().is_some_and(|last| last.covers(&pattern)) {
                kept.push(pattern);
            }
        }
        Self(kept.into())
    }

    /// The patterns, sorted; none covers another.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// The only pattern that can match `text`: the last that does not sort after it. If a pattern
    /// `p` that is a prefix of `text` sorted before it, everything between would begin with `p` and
    /// be covered.
    fn candidate(&self, text: &str) -> Option<&Pattern> {
        let after = self.0.partition_point(|p| *p.text <= *text);
        self.0.get(after.checked_sub(1)?)
    }

    /// Whether `text` matches one of the patterns.
    #[must_use]
    #[inline]
    pub fn admits(&self, text: &str) -> bool {
        // Both ways give the same answer, as the law tests show; which is faster depends on the
        // number alone.
        if self.0.len() > FEW {
            return self.admits_by_search(text);
        }
        let head = head(text);
        self.0.iter().any(|p| head & p.mask == p.head && p.matches_behind(text))
    }

    #[inline(never)]
    fn admits_by_search(&self, text: &str) -> bool {
        self.candidate(text).is_some_and(|p| p.matches(text))
    }

    /// Whether every text of `pattern` is admitted.
    #[must_use]
    pub fn covers(&self, pattern: &Pattern) -> bool {
        self.candidate(&pattern.text).is_some_and(|p| p.covers(pattern))
    }

    /// Whether some text of `pattern` is admitted.
    #[must_use]
    pub fn meets(&self, pattern: &Pattern) -> bool {
        // A pattern that is covered has all of its texts in common.
        if self.covers(pattern) {
            return true;
        }
        // Else only a pattern below it can share a text with it, and those follow it in the order.
        let from = self.0.partition_point(|p| *p.text < *pattern.text);
        pattern.prefix && self.0.get(from).is_some_and(|p| p.text.starts_with(&*pattern.text))
    }

    /// Some admitted text, not empty where there is a choice.
    #[must_use]
    pub fn sample(&self) -> Option<String> {
        self.0.first().map(Pattern::sample)
    }

    /// A text that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<String> {
        let uncovered = self.0.iter().find(|p| !other.covers(p))?;
        if !uncovered.prefix {
            return Some(uncovered.sample());
        }
        // Finitely many patterns cannot cover a prefix unless one covers all of it, so some
        // extension by one character from a long enough alphabet is free.
        let mut tries = std::iter::once(uncovered.sample()).chain(
            ('!'..)
                .take(other.0.len().saturating_add(200))
                .map(|c| format!("{uncovered}{c}").replacen('*', "", 1)),
        );
        tries.find(|text| self.admits(text) && !other.admits(text))
    }
}

impl Lattice for Patterns {
    fn top() -> Self {
        Self(Box::new([Pattern::prefix("")]))
    }
    fn bottom() -> Self {
        Self(Box::default())
    }
    fn meet(&self, other: &Self) -> Self {
        // Two patterns meet only when one covers the other, and then in the smaller.
        let here = self.0.iter().filter(|p| other.covers(p));
        let there = other.0.iter().filter(|p| self.covers(p));
        Self::new(here.chain(there).cloned().collect())
    }
    fn join(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&*other.0).cloned().collect())
    }
    fn le(&self, other: &Self) -> bool {
        self.0.iter().all(|p| other.covers(p))
    }
}

/// Admits a text that matches none of the patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden(Patterns);

impl Forbidden {
    /// Forbids what these patterns match.
    #[must_use]
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(Patterns::new(patterns))
    }

    /// The patterns of what is forbidden.
    #[must_use]
    pub fn patterns(&self) -> &Patterns {
        &self.0
    }

    /// Whether `text` is not forbidden.
    #[must_use]
    pub fn admits(&self, text: &str) -> bool {
        !self.0.admits(text)
    }

    /// A text that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self) -> Option<String> {
        // A text that the other forbids and this one does not: what the other's patterns match
        // beyond this one's.
        other.0.witness_against(&self.0)
    }
}

/// The dual of [`Patterns`]: what is looser there is stricter here, so every operation is the other
/// one on the patterns.
impl Lattice for Forbidden {
    fn top() -> Self {
        Self(Patterns::bottom())
    }
    fn bottom() -> Self {
        Self(Patterns::top())
    }
    fn meet(&self, other: &Self) -> Self {
        Self(self.0.join(&other.0))
    }
    fn join(&self, other: &Self) -> Self {
        Self(self.0.meet(&other.0))
    }
    fn le(&self, other: &Self) -> bool {
        other.0.le(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{FEW, Pattern, Patterns};

    /// Every text of up to `most` of two letters, one of which is zero: what a head is filled up
    /// with.
    fn texts(most: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..most {
            last = last.iter().flat_map(|t| ["a", "\0"].map(|c| format!("{t}{c}"))).collect();
            all.extend(last.iter().cloned());
        }
        all
    }

    #[test]
    fn a_pattern_matches_what_its_text_says_whatever_its_length() {
        let long = ["aaaaaaa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaa\0", "aaaaaaa\0", "é", "aé"];
        let words: Vec<String> = texts(5).into_iter().chain(long.map(str::to_owned)).collect();
        for pattern in &words {
            for text in &words {
                assert_eq!(Pattern::exact(pattern).matches(text), pattern == text);
                assert_eq!(Pattern::prefix(pattern).matches(text), text.starts_with(pattern));
            }
        }
    }

    #[test]
    fn few_and_many_patterns_admit_the_same_texts() {
        let words: Vec<String> = (0..40).map(|n| format!("word.{n}=value")).collect();
        let patterns = |count: usize| {
            let all = words.iter().take(count).map(|w| Pattern::exact(w));
            Patterns::new(all.chain([Pattern::prefix("a"), Pattern::prefix("console=")]).collect())
        };
        for count in [1, FEW - 2, FEW - 1, 40] {
            let set = patterns(count);
            for (index, word) in words.iter().enumerate() {
                assert_eq!(set.admits(word), index < count, "{word} of {count}");
            }
            assert!(set.admits("a") && set.admits("console=ttyS0") && !set.admits("console"));
            assert!(!set.admits("") && !set.admits("word.1=valu"));
        }
    }
}
