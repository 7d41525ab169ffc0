//! The boot code's image: entry, processor instructions, and the end. The steps are in the library.
//!
//! Compiled by `image/recipe.rs` without vector registers and without a standard library. The
//! addresses are those of `casemate_layout::map`; the entry state is described in that crate.
#![no_std]
#![no_main]

mod entry;
mod ghcb;
mod halt;
mod processor;
mod runtime;

use casemate_layout::{Mode, Params, Termination};
use casemate_boot::boot;
use processor::Processor;

/// Called by the entry code on the scratch stack.
#[unsafe(no_mangle)]
extern "sysv64" fn casemate_boot_main() -> ! {
    if is_snp() {
        entry::catch_exceptions();
    }
    let mut processor = Processor::new();
    match boot(&mut processor) {
        Ok(entry) => entry::enter_kernel(entry),
        Err(termination) => terminate(termination),
    }
}

/// Ends the guest: by the GHCB protocol under SNP, else by the report port.
fn terminate(termination: Termination) -> ! {
    if is_snp() {
        ghcb::terminate(termination)
    }
    if let Some(port) = Params::report_port_of(processor::params_page()) {
        processor::out_u32(port, u32::from(termination.code()));
    }
    halt::halt()
}

/// What the parameters say, before or without their being checked.
fn is_snp() -> bool {
    Params::mode_of(processor::params_page()) == Some(Mode::Snp)
}
