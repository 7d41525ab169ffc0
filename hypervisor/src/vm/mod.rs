//! The life of a VM: configuration, plan, processes, end.

pub mod engine;
pub mod protocol;
pub mod timeline;
pub mod vmm;
