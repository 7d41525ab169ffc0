//! Accepting memory: every page of RAM becomes valid exactly once, or the guest ends.
//!
//! Launched pages are valid already, and the scratch range was accepted by the image's first instructions. All other
//! RAM is what the host says it is until PVALIDATE: a page that is "already valid" was replayed or aliased by the host
//! and is never taken. RAM is private from the start, so no page state is asked for; only staging is shared.

use crate::machine::{Machine, PageSize, Validation};
use casemate_layout::map::{LARGE_PAGE_SIZE, PAGE_SIZE, SCRATCH};
use casemate_layout::{Params, Range, Termination};

/// Accepts all RAM of `params` but launched pages, scratch and staging; proves that launched pages are valid.
///
/// # Errors
/// [`Termination::AlreadyValidated`] and [`Termination::ValidateFailed`].
pub fn accept_ram(machine: &mut impl Machine, params: &Params) -> Result<(), Termination> {
    for launched in params.launched.as_slice() {
        each_page(*launched, |page| machine.touch(page));
    }
    for ram in params.ram.as_slice() {
        let mut at = ram.start;
        while at < ram.end() {
            let left = Range { start: at, size: ram.end() - at };
            at = match next_excluded(params, left) {
                Some(excluded) => {
                    let gap = excluded.start.saturating_sub(at);
                    accept_range(machine, Range { start: at, size: gap })?;
                    excluded.end()
                }
                None => {
                    accept_range(machine, left)?;
                    ram.end()
                }
            };
        }
    }
    Ok(())
}

/// Makes the staging window private and accepts it.
///
/// # Errors
/// As [`accept_ram`]; [`Termination::PageStateChange`] when the host refuses.
pub fn reclaim_staging(machine: &mut impl Machine, window: Range) -> Result<(), Termination> {
    machine.make_private(window)?;
    accept_range(machine, window)
}

/// The first range in `within` that is not to be accepted.
fn next_excluded(params: &Params, within: Range) -> Option<Range> {
    let launched = params.launched.as_slice().iter().copied();
    launched
        .chain([SCRATCH, params.staging])
        .filter(|excluded| excluded.overlaps(within))
        .min_by_key(|excluded| excluded.start)
}

fn accept_range(machine: &mut impl Machine, range: Range) -> Result<(), Termination> {
    let mut at = range.start;
    while at < range.end() {
        let left = range.end() - at;
        if at.is_multiple_of(LARGE_PAGE_SIZE) && left >= LARGE_PAGE_SIZE {
            accept_large(machine, at)?;
            at += LARGE_PAGE_SIZE;
        } else {
            accept_small(machine, at)?;
            at += PAGE_SIZE;
        }
    }
    Ok(())
}

fn accept_large(machine: &mut impl Machine, gpa: u64) -> Result<(), Termination> {
    let block = Range { start: gpa, size: LARGE_PAGE_SIZE };
    match machine.validate(gpa, PageSize::Large) {
        Validation::Done => {
            each_page(block, |page| machine.touch(page));
            Ok(())
        }
        Validation::SizeMismatch => {
            let mut at = block.start;
            while at < block.end() {
                accept_small(machine, at)?;
                at += PAGE_SIZE;
            }
            Ok(())
        }
        Validation::Unchanged => Err(Termination::AlreadyValidated),
        Validation::Failed => Err(Termination::ValidateFailed),
    }
}

fn accept_small(machine: &mut impl Machine, gpa: u64) -> Result<(), Termination> {
    match machine.validate(gpa, PageSize::Small) {
        Validation::Done => {
            machine.touch(gpa);
            Ok(())
        }
        Validation::Unchanged => Err(Termination::AlreadyValidated),
        // A small page inside what the host backs with a large one cannot be split from here.
        Validation::SizeMismatch | Validation::Failed => Err(Termination::ValidateFailed),
    }
}

fn each_page(range: Range, mut visit: impl FnMut(u64)) {
    let mut at = range.start;
    while at < range.end() {
        visit(at);
        at += PAGE_SIZE;
    }
}
