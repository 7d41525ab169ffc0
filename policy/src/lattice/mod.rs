//! The types a policy field can have. Each is a lattice ordered from strict to loose.
//!
//! A value stands for the set of facts it admits. `a.le(b)` holds exactly when everything that `a`
//! admits `b` admits too; `meet` admits exactly what both admit; `join` is the least value of the
//! type above both; `is_empty` holds exactly when nothing is admitted. Values are kept in one
//! canonical form, so `==` is equality of the admitted sets. These laws are property-tested for
//! every type in `laws.rs`, and they are why comparison, merging and explanation need no solver.

mod bits;
mod bytes;
mod choice;
mod egress;
mod egress_cover;
#[cfg(test)]
mod laws;
mod limit;
mod patterns;
mod range;
mod required;
mod tcb;

pub use bits::Bits;
pub(crate) use bytes::write_hex;
pub use bytes::{ByteSet, Bytes, hex, hex_digit};
pub use choice::Choice;
pub use egress::{EgressBlock, EgressSet, Endpoint, Protocol};
pub use limit::{Limit, Usage};
pub use patterns::{Forbidden, Pattern, Patterns};
pub use range::Range;
pub use required::Required;
pub use tcb::{Tcb, TcbFloors};

/// A bounded lattice of admitted sets.
pub trait Lattice: Sized + Clone + PartialEq {
    /// Admits everything: what a document writes as `any`.
    fn top() -> Self;
    /// Admits nothing: what a document writes as `nothing`.
    fn bottom() -> Self;
    /// Admits exactly what both admit.
    #[must_use]
    fn meet(&self, other: &Self) -> Self;
    /// The least value that admits what either admits.
    #[must_use]
    fn join(&self, other: &Self) -> Self;
    /// Whether everything admitted by `self` is admitted by `other`.
    fn le(&self, other: &Self) -> bool;
    /// Whether nothing is admitted, that is, whether it is the bottom.
    fn is_empty(&self) -> bool {
        *self == Self::bottom()
    }
    /// Whether everything is admitted, that is, whether it is the top.
    fn is_any(&self) -> bool {
        *self == Self::top()
    }
}
