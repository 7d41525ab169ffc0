//! What is around the runtime in tests: a real containerd that nobody else uses, images that no
//! registry has, and pods with their manifests.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test that cannot go on fails"
)]

pub mod engine;
pub mod image;
pub mod package;
pub mod pod;
