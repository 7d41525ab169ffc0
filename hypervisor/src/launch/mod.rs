//! What will be in guest memory before the first instruction, in order, and why.

pub mod acpi;
mod contents;
pub mod cpuid_page;
pub mod foreign;
pub mod issue;
pub mod kernel;
pub mod linux;
pub mod measure;
pub mod plan;
mod plan_bytes;
mod shape;
mod vcpu_state;

pub use contents::Contents;
pub use linux::LaunchError;
pub use plan::{FileHashes, LaunchPlan, Outline, PageKind, PlanError};
pub use plan_bytes::PlanBytesError;
pub use shape::{Shape, SnpShape};
pub use vcpu_state::{BootState, parked};
