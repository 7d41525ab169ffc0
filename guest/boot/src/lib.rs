//! The first measured code of a guest, less its processor instructions.
//!
//! [`boot()`] takes a guest from its first instruction to the kernel's: it checks the parameters,
//! accepts memory (SNP), copies kernel, initrd, command line and ACPI tables out of shared staging,
//! hashes the private copies, writes what Linux reads (zero page, E820, confidential-computing
//! blob), and gives the kernel's entry. All that touches the processor is behind [`Machine`], so
//! the same steps run in the image (`image/`) and in tests against a model of the processor with a
//! lying host.
//!
//! # Principles and limits
//!
//! Nothing that a host can change is read twice: staging is copied first and only the private copy
//! is looked at. Every step ends in success or one [`Termination`](casemate_layout::Termination);
//! nothing is retried, repaired or guessed. An exception ends the guest, which refuses as well:
//! under SNP with a code, else by a triple fault. It uses no floating point and no vector registers
//! except in one function, [`sha256`]'s hardware half.
#![no_std]

pub mod accept;
pub mod boot;
pub mod cc;
pub mod e820;
pub mod machine;
pub mod paging;
pub mod sha256;
pub mod zero_page;

pub use boot::{Entry, boot};
pub use machine::{Machine, PageSize, Validation};
