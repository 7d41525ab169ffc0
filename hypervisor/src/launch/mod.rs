//! What will be in guest memory before the first instruction, in order, and why.

pub mod acpi;
pub mod plan;

pub use plan::{LaunchPlan, PageKind, PlanError};
