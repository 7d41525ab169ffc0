//! What the hypervisor and the boot code, the first code of a guest, agree on.
//!
//! The hypervisor fills a [`Params`] page and launches it with the boot code; the boot code decodes
//! and checks it before it does anything else. Both sides use this crate, so there is one
//! description of low memory ([`map`]), of the measured parameters ([`Params`]), of the host's
//! memory map ([`MemoryMap`]) and the places that follow from both ([`Places`]), of the first page
//! table ([`paging`]) and of how a guest says that it refuses ([`Termination`]).
//!
//! # Entry state of the boot processor
//!
//! 64-bit mode, flat segments, interrupts off; CR3 = [`map::BOOT_TABLE`] with the contents of
//! [`paging::boot_table`] (low memory and the host's memory map, each where it is; the former
//! private under SNP); RIP = [`map::BOOT_CODE`]; RSI = [`map::PARAMS`]; the task register leads to
//! [`map::SCRATCH_TASK`]; no interrupt table and no descriptor table. RSP is not used. Everything
//! else is ignored.
//!
//! # Principles and limits
//!
//! No dependencies, no unsafe code, no allocation: this is compiled into measured code. Encoding is
//! canonical: a page decodes only if encoding the result gives the same page. All numbers are
//! little-endian.
#![no_std]
#![forbid(unsafe_code)]

mod codec;
pub mod map;
mod memory_map;
mod mode;
pub mod paging;
mod params;
mod places;
pub mod ports;
mod range;
mod refusal;
mod termination;

pub use memory_map::{MAP_BYTES, MAX_RANGES, MapError, MemoryMap};
pub use mode::{KernelKind, Mode};
pub use params::{Blob, Params, ParamsError, VERSION as PARAMS_VERSION};
pub use places::{Place, Places};
pub use range::{Range, Ranges, TooManyRanges};
pub use refusal::Refusal;
pub use termination::{TERMINATION_SET, Termination};
