//! What the hypervisor and the boot code, the first code of a guest, agree on.
//!
//! The hypervisor fills a [`Params`] page and launches it with the boot code; the boot code decodes and checks it before it
//! does anything else. Both sides use this crate, so there is one description of low memory ([`map`]), of the
//! parameters ([`Params`]), of the first page tables ([`paging`]) and of how a guest says that it refuses
//! ([`Termination`]).
//!
//! # Entry state of the boot processor
//!
//! 64-bit mode, flat segments, interrupts off; CR3 = [`map::BOOT_TABLES`] with the contents of
//! [`paging::boot_tables`] (the first 2 MiB, identity-mapped, with the C-bit under SNP); RIP = [`map::BOOT_CODE`];
//! RSI = [`map::PARAMS`]. RSP is not used. Everything else is ignored.
//!
//! # Principles and limits
//!
//! No dependencies, no unsafe code, no allocation: this is compiled into measured code. Encoding is canonical:
//! a page decodes only if encoding the result gives the same page. All numbers are little-endian.
#![no_std]
#![forbid(unsafe_code)]

mod check;
mod codec;
pub mod map;
pub mod paging;
mod params;
pub mod ports;
mod range;
mod termination;

pub use codec::ParamsError;
pub use params::{Blob, Flags, KernelKind, MAX_RANGES, Mode, Params};
pub use range::{Range, Ranges, TooManyRanges};
pub use termination::{TERMINATION_SET, Termination};
