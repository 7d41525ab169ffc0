//! A rule: the value of one field, of whichever lattice the field has.

use crate::fact::Fact;
use crate::lattice::{
    Bits, ByteSet, Choice, EgressSet, Forbidden, Lattice, Limit, Patterns, Range, Required,
    TcbFloors,
};

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Numbers: counts, packed versions, times, levels.
    Range(Range),
    /// Byte strings: digests, identifiers.
    Bytes(ByteSet),
    /// Texts that must match one of these patterns.
    Names(Patterns),
    /// Texts that must not be there.
    Forbidden(Forbidden),
    /// Texts that must be there.
    Required(Required),
    /// Bit masks with bits that must and must not be set.
    Bits(Bits),
    /// Choices out of a closed list.
    Choice(Choice),
    /// Security patch levels, a floor for each generation.
    Tcb(TcbFloors),
    /// Network end points in blocks.
    Egress(EgressSet),
    /// Counted uses, in a second and in all.
    Limit(Limit),
}

/// Applies one expression to two rules of the same lattice.
macro_rules! same {
    ($left:expr, $right:expr, |$a:ident, $b:ident| $apply:expr, $wrap:ident, $otherwise:expr) => {
        match ($left, $right) {
            (Rule::Range($a), Rule::Range($b)) => $wrap!(Range, $apply),
            (Rule::Bytes($a), Rule::Bytes($b)) => $wrap!(Bytes, $apply),
            (Rule::Names($a), Rule::Names($b)) => $wrap!(Names, $apply),
            (Rule::Forbidden($a), Rule::Forbidden($b)) => $wrap!(Forbidden, $apply),
            (Rule::Required($a), Rule::Required($b)) => $wrap!(Required, $apply),
            (Rule::Bits($a), Rule::Bits($b)) => $wrap!(Bits, $apply),
            (Rule::Choice($a), Rule::Choice($b)) => $wrap!(Choice, $apply),
            (Rule::Tcb($a), Rule::Tcb($b)) => $wrap!(Tcb, $apply),
            (Rule::Egress($a), Rule::Egress($b)) => $wrap!(Egress, $apply),
            (Rule::Limit($a), Rule::Limit($b)) => $wrap!(Limit, $apply),
            _ => $otherwise,
        }
    };
}

macro_rules! as_rule {
    ($variant:ident, $value:expr) => {
        Some(Rule::$variant($value))
    };
}

macro_rules! as_is {
    ($variant:ident, $value:expr) => {
        $value
    };
}

impl Rule {
    /// Whether the fact is admitted. A list is admitted when every element is; a fact of another
    /// type is not admitted by any rule.
    #[must_use]
    #[inline]
    pub fn admits(&self, fact: &Fact) -> bool {
        // What a decision meets most is decided where it is asked, without a call.
        match (self, fact) {
            (Self::Range(range), Fact::Number(n)) => range.admits(*n),
            (Self::Bytes(set), Fact::Bytes(bytes)) => set.admits(bytes),
            (Self::Bits(bits), Fact::Number(n)) => bits.admits(*n),
            (Self::Choice(choice), Fact::Number(n)) => choice.admits(*n),
            _ => self.admits_other(fact),
        }
    }

    #[inline(never)]
    fn admits_other(&self, fact: &Fact) -> bool {
        // Each rule with the facts it knows; a fact of another type than the rule's is not
        // admitted, whatever it is. Command lines have a view for each kind of rule.
        match (self, fact) {
            (Self::Names(patterns), Fact::Text(text)) => patterns.admits(text),
            (Self::Names(patterns), Fact::List(items)) => {
                items.iter().all(|item| matches!(item, Fact::Text(text) if patterns.admits(text)))
            }
            (Self::Forbidden(forbidden), Fact::Text(text)) => forbidden.admits(text),
            (Self::Forbidden(forbidden), Fact::List(items)) => {
                items.iter().all(|item| matches!(item, Fact::Text(text) if forbidden.admits(text)))
            }
            (Self::Required(required), Fact::List(present)) => admits_required(required, present),
            (Self::Names(patterns), Fact::CommandLine(line)) => {
                line.words().iter().all(|word| patterns.admits(word))
            }
            (Self::Forbidden(forbidden), Fact::CommandLine(line)) => {
                line.seen().iter().all(|word| forbidden.admits(word))
            }
            (Self::Required(required), Fact::CommandLine(line)) => {
                let taken = |text: &str| line.taken().iter().any(|word| **word == *text);
                required.texts().is_some() && required.missing(taken).is_none()
            }
            (Self::Tcb(floors), Fact::Tcb(tcb)) => floors.admits(tcb),
            (Self::Egress(set), Fact::Endpoint(endpoint)) => set.admits(endpoint),
            (Self::Limit(limit), Fact::Usage(usage)) => limit.admits(usage),
            (
                Self::Range(_) | Self::Bytes(_) | Self::Choice(_) | Self::Egress(_),
                Fact::List(elements),
            ) => elements.iter().all(|element| self.admits_element(element)),
            _ => false,
        }
    }

    fn admits_element(&self, element: &Fact) -> bool {
        // Lists in lists are no facts.
        !matches!(element, Fact::List(_)) && self.admits(element)
    }

    /// Admits exactly what both admit; rules of different lattices admit nothing together.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        same!(self, other, |a, b| a.meet(b), as_rule, None)
    }

    /// The least rule above both, of the same lattice.
    #[must_use]
    pub fn join(&self, other: &Self) -> Option<Self> {
        same!(self, other, |a, b| a.join(b), as_rule, None)
    }

    /// Whether everything admitted by `self` is admitted by `other`.
    #[must_use]
    pub fn le(&self, other: &Self) -> bool {
        same!(self, other, |a, b| a.le(b), as_is, false)
    }

    /// Whether no fact at all is admitted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        same!(self, self, |a, _b| a.is_empty(), as_is, true)
    }

    /// Whether every fact is admitted, one that is missing included.
    #[must_use]
    pub fn is_any(&self) -> bool {
        same!(self, self, |a, _b| a.is_any(), as_is, false)
    }
}

/// From so many required texts on, a set is worth making.
const FEW: usize = 16;

fn admits_required(required: &crate::lattice::Required, present: &[Fact]) -> bool {
    let Some(texts) = required.texts() else { return false };
    let there =
        |text: &str| present.iter().any(|fact| matches!(fact, Fact::Text(t) if **t == *text));
    if texts.len() <= FEW {
        return required.missing(there).is_none();
    }
    // Both lists can have 65,536 members: one by one that would be four thousand million
    // comparisons.
    let present: std::collections::BTreeSet<&str> = present
        .iter()
        .filter_map(|fact| match fact {
            Fact::Text(text) => Some(&**text),
            _ => None,
        })
        .collect();
    required.missing(|text| present.contains(text)).is_none()
}
