//! Accepting memory: every page of RAM becomes valid exactly once, or the guest ends.
//!
//! Launched pages are valid already, and the scratch range was accepted by the image's first
//! instructions. All other RAM is what the host says it is until PVALIDATE: a page that is "already
//! valid" was replayed or aliased by the host and is never taken. RAM is private from the start, so
//! no page state is asked for; only staging and the host's memory map are shared. The legacy video
//! window is never accepted, so that no access to it ever succeeds.

use crate::machine::{Machine, PageSize, Validation};
use casemate_layout::map::{LARGE_PAGE_SIZE, PAGE_SIZE, SCRATCH, VIDEO, launched};
use casemate_layout::{Mode, Range, Termination};

/// Accepts all of `ram` but launched pages, scratch, the video window and `window`, where things
/// are staged; proves that launched pages are valid.
///
/// # Errors
/// [`Termination::AlreadyValidated`] and [`Termination::ValidateFailed`].
pub fn accept_ram(
    machine: &mut impl Machine,
    ram: &[Range],
    window: Range,
) -> Result<(), Termination> {
    for launched in launched(Mode::Snp) {
        touch_all(machine, *launched)?;
    }
    for ram in ram {
        let mut left = *ram;
        while left.size != 0 {
            let excluded =
                next_excluded(window, left).unwrap_or(Range { start: left.end(), size: 0 });
            accept_range(machine, Range::between(left.start, excluded.start))?;
            left = Range::between(excluded.end(), left.end());
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
fn next_excluded(window: Range, within: Range) -> Option<Range> {
    let launched = launched(Mode::Snp).iter().copied();
    launched
        .chain([SCRATCH, VIDEO, window])
        .filter(|excluded| excluded.overlaps(within))
        .min_by_key(|excluded| excluded.start)
}

fn accept_range(machine: &mut impl Machine, range: Range) -> Result<(), Termination> {
    let mut left = range;
    while left.size != 0 {
        let large = left.start.is_multiple_of(LARGE_PAGE_SIZE) && left.size >= LARGE_PAGE_SIZE;
        let (block, rest) = left.split(if large { LARGE_PAGE_SIZE } else { PAGE_SIZE });
        match large {
            true => accept_large(machine, block)?,
            false => accept_small(machine, block.start)?,
        }
        left = rest;
    }
    Ok(())
}

/// With one instruction where the host backs the block with one large page; else page by page. A
/// host on Linux up to 7.3 never does (its guest_memfd hands out single pages), so that there this
/// costs one refused instruction for 512 that succeed; the instruction is tried on every block all
/// the same, since nothing else tells how a block is backed.
fn accept_large(machine: &mut impl Machine, block: Range) -> Result<(), Termination> {
    match machine.validate(block.start, PageSize::Large) {
        Validation::Done => touch_all(machine, block),
        Validation::SizeMismatch => each_page(block, |page| accept_small(machine, page)),
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

fn each_page(
    range: Range,
    mut visit: impl FnMut(u64) -> Result<(), Termination>,
) -> Result<(), Termination> {
    let mut left = range;
    while left.size != 0 {
        let (page, rest) = left.split(PAGE_SIZE);
        visit(page.start)?;
        left = rest;
    }
    Ok(())
}

fn touch_all(machine: &mut impl Machine, range: Range) -> Result<(), Termination> {
    each_page(range, |page| {
        machine.touch(page);
        Ok(())
    })
}
