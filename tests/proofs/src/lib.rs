//! Properties of the arithmetic at the boundary, each a statement about every input.
//!
//! One body, two ways to run it. Under [Kani](https://model-checking.github.io/kani/) (`cargo kani
//! -p casemate-proofs`) every value that a property takes is any value at all, and the property is
//! proven. Everywhere else the same body runs once for **every combination** of its values, where a
//! number is one of the corners that its property names (ends of ranges, powers of two, what is
//! beside them) and a choice is every choice: bounded-exhaustive, not random, so a run that passes
//! says the same each time. What is between the corners only Kani sees, and the property tests of
//! each crate, which draw at random.
//!
//! `docs/proofs.md` has the table: property, harness, bound. A test holds it to this list.
#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    reason = "a property that does not hold must panic, and says things in another way than the code"
)]

mod bucket;
mod lattice;
mod layout;
mod queue;
mod ranges;
mod transport;
mod values;

#[cfg(not(kani))]
pub use values::every_combination;
pub use values::{Corners, Values};

/// A property: its name, what it says, and its body.
#[derive(Debug, Clone, Copy)]
pub struct Property {
    /// Of the harness and of the test.
    pub name: &'static str,
    /// One sentence.
    pub says: &'static str,
    /// Runs it once, for the values that come.
    pub body: fn(&mut dyn Values),
}

/// Declares properties: of each a harness for Kani, a test for everywhere else, and an entry in the
/// module's list.
macro_rules! properties {
    ($($(#[doc = $says:literal])* fn $name:ident($values:ident) $body:block)*) => {
        pub(crate) const PROPERTIES: &[crate::Property] = &[$(crate::Property {
            name: stringify!($name),
            says: concat!($($says,)*),
            body: $name,
        }),*];
        $(
            $(#[doc = $says])*
            fn $name($values: &mut dyn crate::Values) $body
        )*
        #[cfg(kani)]
        mod harnesses {
            $(#[kani::proof]
            #[kani::unwind(66)]
            fn $name() {
                super::$name(&mut crate::values::Any);
            })*
        }
        #[cfg(all(test, not(kani)))]
        mod tests {
            //! Protects what each property says. Cannot tell: values between its corners.
            $(#[test]
            fn $name() {
                let runs = crate::every_combination(super::$name);
                assert!(runs > 1, "a property of one case is an example");
            })*
        }
    };
}
use properties;

/// Every property there is.
pub fn all() -> impl Iterator<Item = Property> {
    [
        ranges::PROPERTIES,
        layout::PROPERTIES,
        queue::PROPERTIES,
        transport::PROPERTIES,
        bucket::PROPERTIES,
        lattice::PROPERTIES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

#[cfg(all(test, not(kani)))]
mod tests {
    //! Protects the table in docs/proofs.md, which people read in place of the code: each property
    //! with what it says and its number of combinations, and none that is not there. Cannot tell
    //! whether a sentence says what its body does.

    use super::{all, every_combination};
    use std::collections::BTreeSet;

    const TABLE: &str = include_str!("../../../docs/proofs.md");

    #[test]
    fn the_table_has_every_property_with_its_bound_and_no_other() {
        let mut names = BTreeSet::new();
        for property in all() {
            let says = property.says.split_whitespace().collect::<Vec<_>>().join(" ");
            let row =
                format!("| {says} | `{}` | {} |", property.name, every_combination(property.body));
            assert!(TABLE.lines().any(|line| line == row), "docs/proofs.md wants this row:\n{row}");
            assert!(names.insert(property.name), "twice: {}", property.name);
        }
        let rows = TABLE.lines().filter(|line| line.starts_with("| ") && line.contains(" | `"));
        assert_eq!(rows.filter(|row| !row.starts_with("| **")).count(), names.len());
        assert!(names.len() >= 40, "{}", names.len());
    }

    /// What the rows should be: `cargo test -p casemate-proofs -- --ignored --nocapture print`.
    #[test]
    #[ignore = "prints the table's rows"]
    fn print_the_rows() {
        for property in all() {
            let says = property.says.split_whitespace().collect::<Vec<_>>().join(" ");
            println!("| {says} | `{}` | {} |", property.name, every_combination(property.body));
        }
    }
}
