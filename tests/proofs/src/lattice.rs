//! Laws of the policy's lattices: what makes comparing, merging and explaining policies exact.

use crate::Values;
use casemate_policy::lattice::{Bits, Choice, Lattice, Limit, Range, Usage};

const NUMBERS: &[u64] = &[0, 1, 2, 7, u64::MAX - 1, u64::MAX];
const MASKS: &[u64] = &[0, 1, 2, 3, 1 << 63, u64::MAX];
/// For properties of three values.
const FEW: &[u64] = &[0, 1, 2, u64::MAX];

fn range(values: &mut dyn Values, numbers: &[u64]) -> Range {
    Range::new(values.number(numbers), values.number(numbers))
}

fn bits(values: &mut dyn Values, masks: &[u64]) -> Bits {
    Bits::new(values.number(masks), values.number(masks))
}

fn limit(values: &mut dyn Values, numbers: &[u64]) -> Limit {
    Limit::new(values.number(numbers), values.number(numbers))
}

/// Subsets of three choices and the unknown one.
fn choice(values: &mut dyn Values) -> Choice {
    let subset = values.below(16);
    let index = |bit: u64| if bit == 3 { Choice::UNKNOWN } else { bit };
    Choice::only((0..4).filter(|bit| subset >> bit & 1 == 1).map(index))
}

/// The laws of two values and of three that hold in every lattice.
fn laws<L: Lattice + std::fmt::Debug>(a: &L, b: &L, c: &L) {
    assert_eq!(a.meet(b), b.meet(a));
    assert_eq!(a.join(b), b.join(a));
    assert_eq!(a.meet(a), *a);
    assert_eq!(a.join(a), *a);
    assert_eq!(a.meet(&a.join(b)), *a);
    assert_eq!(a.join(&a.meet(b)), *a);
    assert_eq!(a.meet(&b.meet(c)), a.meet(b).meet(c));
    assert_eq!(a.join(&b.join(c)), a.join(b).join(c));
    assert_eq!(a.le(b), a.meet(b) == *a);
    assert_eq!(a.le(b), a.join(b) == *b);
    assert!(L::bottom().le(a) && a.le(&L::top()));
    if a.le(b) && b.le(a) {
        assert_eq!(a, b);
    }
}

super::properties! {
    /// Intervals of numbers are a lattice.
    fn intervals_are_a_lattice(values) {
        let (a, b) = (range(values, FEW), range(values, FEW));
        laws(&a, &b, &range(values, FEW));
    }

    /// Masks of bits are a lattice.
    fn masks_are_a_lattice(values) {
        let (a, b) = (bits(values, FEW), bits(values, FEW));
        laws(&a, &b, &bits(values, FEW));
    }

    /// Counted uses are a lattice.
    fn limits_are_a_lattice(values) {
        let (a, b) = (limit(values, FEW), limit(values, FEW));
        laws(&a, &b, &limit(values, FEW));
    }

    /// Subsets of a closed list are a lattice.
    fn choices_are_a_lattice(values) {
        let (a, b) = (choice(values), choice(values));
        laws(&a, &b, &choice(values));
    }

    /// The meet of two intervals admits exactly what both admit.
    fn a_meet_of_intervals_admits_what_both_admit(values) {
        let (a, b) = (range(values, NUMBERS), range(values, NUMBERS));
        let x = values.number(NUMBERS);
        assert_eq!(a.meet(&b).admits(x), a.admits(x) && b.admits(x));
        assert!(!(a.admits(x) || b.admits(x)) || a.join(&b).admits(x));
    }

    /// The meet of two masks admits exactly what both admit.
    fn a_meet_of_masks_admits_what_both_admit(values) {
        let (a, b) = (bits(values, MASKS), bits(values, MASKS));
        let x = values.number(MASKS);
        assert_eq!(a.meet(&b).admits(x), a.admits(x) && b.admits(x));
        assert!(!(a.admits(x) || b.admits(x)) || a.join(&b).admits(x));
    }

    /// The meet of two limits admits exactly what both admit.
    fn a_meet_of_limits_admits_what_both_admit(values) {
        let (a, b) = (limit(values, NUMBERS), limit(values, NUMBERS));
        let total = values.number(NUMBERS);
        // No second has more uses than there are in all.
        let usage = Usage { in_second: values.number(NUMBERS).min(total), total };
        assert_eq!(a.meet(&b).admits(&usage), a.admits(&usage) && b.admits(&usage));
    }

    /// The meet of two subsets admits exactly what both admit, the unknown included.
    fn a_meet_of_choices_admits_what_both_admit(values) {
        let (a, b, x) = (choice(values), choice(values), values.below(34));
        assert_eq!(a.meet(&b).admits(x), a.admits(x) && b.admits(x));
        assert_eq!(a.join(&b).admits(x), a.admits(x) || b.admits(x));
    }

    /// When an interval is not below another, the witness is admitted by it and not by the other.
    fn a_witness_against_an_interval_is_one(values) {
        let (a, b) = (range(values, NUMBERS), range(values, NUMBERS));
        match a.witness_against(&b) {
            Some(x) => assert!(a.admits(x) && !b.admits(x)),
            None => assert!(a.le(&b)),
        }
    }

    /// When a mask is not below another, the witness is admitted by it and not by the other.
    fn a_witness_against_a_mask_is_one(values) {
        let (a, b) = (bits(values, MASKS), bits(values, MASKS));
        match a.witness_against(&b) {
            Some(x) => assert!(a.admits(x) && !b.admits(x)),
            None => assert!(a.le(&b)),
        }
    }

    /// When a subset is not below another, the witness is admitted by it and not by the other.
    fn a_witness_against_a_choice_is_one(values) {
        let (a, b) = (choice(values), choice(values));
        match a.witness_against(&b) {
            Some(x) => assert!(a.admits(x) && !b.admits(x)),
            None => assert!(a.le(&b)),
        }
    }

    /// The nearest admitted number is admitted, and none nearer is.
    fn the_nearest_number_of_an_interval_is_nearest(values) {
        let (a, x, y) = (range(values, NUMBERS), values.number(NUMBERS), values.number(NUMBERS));
        if let Some(nearest) = a.nearest(x) {
            assert!(a.admits(nearest));
            assert!(!a.admits(y) || y.abs_diff(x) >= nearest.abs_diff(x));
        } else {
            assert!(a.is_empty() && !a.admits(y));
        }
    }

    /// The nearest admitted mask is admitted, and none that differs in fewer bits is.
    fn the_nearest_value_of_a_mask_is_nearest(values) {
        let (a, x, y) = (bits(values, MASKS), values.number(MASKS), values.number(MASKS));
        if let Some(nearest) = a.nearest(x) {
            assert!(a.admits(nearest));
            assert!(!a.admits(y) || (y ^ x).count_ones() >= (nearest ^ x).count_ones());
        } else {
            assert!(a.is_empty() && !a.admits(y));
        }
    }
}
