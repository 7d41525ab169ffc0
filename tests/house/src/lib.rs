//! The house's plan, held against the code.
//!
//! [`source`] reads every product file, without the code that only tests compile. [`imports`] finds
//! what each names of other crates and of other modules of its own crate. [`table`] reads who may
//! import whom from ARCHITECTURE.md. The test compares them.
//!
//! Limit: names are followed as text, through `use`, `crate::`, `super::` and re-exports of a
//! folder's `mod.rs`. What a macro makes of its arguments is seen as far as its arguments name
//! paths.

pub mod graph;
pub mod imports;
pub mod source;
pub mod table;
