//! Where everything goes that is larger than low memory: the rule that hypervisor and boot code
//! share.
//!
//! The boot code takes no address from the host. Both sides compute all of them by this rule from
//! measured parameters and the memory map, so a host that stages elsewhere stages what nobody
//! reads. "Low RAM" is the range that starts at 0.
//!
//! 1. The **window** of shared memory has the kernel file, the initrd, the command line and the
//!    ACPI tables, in this
//!    order, each from the start of a page; it is whole blocks of 2 MiB. It is at the top, aligned
//!    down to 2 MiB, of
//!    the highest RAM range that has room for it above 1 MiB and above the kernel's memory.
//! 2. The **kernel's memory** is where the parameters say. The **kernel file** is copied to the
//!    first block of 2 MiB
//!    behind it; from there its parts are moved to where they run.
//! 3. The **initrd** is as high as possible, from the start of a page, in the first of these that
//!    has room: low RAM
//!    below 2 GiB; all of low RAM; the other ranges from the highest down. It lies below the
//!    kernel's limit for it,
//!    above the kernel file, and below the window where that is in the same range.
//! 4. **Command line** and **ACPI tables** have their places in low memory.
//!
//! No two of these share a page, and none a page with low memory. Where there is no room, the guest
//! ends.

use crate::map::{ACPI, CMDLINE, HIGH_START, LARGE_PAGE_SIZE, PAGE_SIZE};
use crate::memory_map::MapError;
use crate::params::{Blob, Params};
use crate::range::Range;

/// Linux likes its initrd below: `initrd_addr_max` of x86 kernels.
const USUAL_INITRD_LIMIT: u64 = 1 << 31;

/// Where a blob comes from, and where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Where the hypervisor stages it, in shared memory; with size 0 there is none.
    pub staged: Range,
    /// Where its copy is, in private memory.
    pub target: Range,
}

/// Where the kernel, the initrd and what Linux needs to know of them go, from the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// The window of shared memory that everything is staged in.
    pub window: Range,
    /// The kernel file, copied behind the kernel's memory.
    pub kernel: Place,
    /// The initrd, as high as its limit lets it.
    pub initrd: Place,
    /// The command line, in low memory.
    pub cmdline: Place,
    /// The ACPI tables, in low memory.
    pub acpi: Place,
}

/// `size` in whole units, a power of two. What has no such multiple saturates, and then fits
/// nowhere.
const fn whole(size: u64, unit: u64) -> u64 {
    size.saturating_add(unit - 1) & !(unit - 1)
}

/// So many bytes in whole pages.
const fn pages(size: u64) -> u64 {
    whole(size, PAGE_SIZE)
}

impl Params {
    /// Where everything is staged and goes, with RAM as `ram` says.
    ///
    /// # Errors
    /// [`MapError::TooSmall`].
    pub fn places(&self, ram: &[Range]) -> Result<Places, MapError> {
        Places::find(self, ram)
    }
}

impl Places {
    fn find(params: &Params, ram: &[Range]) -> Result<Self, MapError> {
        // The first range is low RAM: [`MemoryMap`](crate::MemoryMap) makes sure that it starts at
        // 0.
        let low = *ram.first().ok_or(MapError::TooSmall)?;
        let window = window(params, ram).ok_or(MapError::TooSmall)?;
        let file = kernel_file(params);
        // The window comes first because it depends on nothing but the kernel's memory; then the
        // kernel file must neither leave low RAM nor meet the window; the initrd is placed between
        // what is fixed.
        if !low.contains(params.kernel_memory) || !low.contains(file) || file.overlaps(window) {
            return Err(MapError::TooSmall);
        }
        let initrd = initrd(params, ram, window, file.end()).ok_or(MapError::TooSmall)?;
        // The rule's order within the window: each blob from the page behind the one before.
        let mut next = window.start;
        let mut place = |blob: &Blob, to: u64| {
            if !blob.is_present() {
                return Place::default();
            }
            let staged = Range { start: next, size: blob.size };
            next = next.saturating_add(pages(blob.size));
            Place { staged, target: Range { start: to, size: blob.size } }
        };
        Ok(Self {
            window,
            kernel: place(&params.kernel, file.start),
            initrd: place(&params.initrd, initrd),
            cmdline: place(&params.cmdline, CMDLINE.start),
            acpi: place(&params.acpi, ACPI.start),
        })
    }
}

fn window(params: &Params, ram: &[Range]) -> Option<Range> {
    let blobs = [&params.kernel, &params.initrd, &params.cmdline, &params.acpi];
    // Saturating: sizes come out of measured parameters, but a sum that does not fit 64 bits fits
    // no range either.
    let bytes = blobs.iter().fold(0_u64, |sum, blob| sum.saturating_add(pages(blob.size)));
    let size = whole(bytes, LARGE_PAGE_SIZE);
    // From the highest range down. In low RAM the window must leave the kernel's memory alone,
    // elsewhere only low memory.
    ram.iter().rev().find_map(|range| {
        let floor = if range.start == 0 { params.kernel_memory.end() } else { HIGH_START };
        let start = highest(*range, range.end(), floor, size, LARGE_PAGE_SIZE)?;
        Some(Range { start, size })
    })
}

fn kernel_file(params: &Params) -> Range {
    let start = whole(params.kernel_memory.end(), LARGE_PAGE_SIZE);
    Range { start, size: pages(params.kernel.size) }
}

/// The initrd's place; 0 without one.
fn initrd(params: &Params, ram: &[Range], window: Range, floor: u64) -> Option<u64> {
    let size = pages(params.initrd.size);
    if size == 0 {
        return Some(0);
    }
    let try_range = |range: &Range, limit: u64| {
        // A range that has the window in it ends, for the initrd, where that begins.
        let ceiling = match range.overlaps(window) {
            true => limit.min(window.start),
            false => limit,
        };
        highest(*range, ceiling, floor, size, PAGE_SIZE)
    };
    let (low, others) = ram.split_first()?;
    let limit = params.initrd_limit;
    // Below 2 GiB first, whatever the kernel's limit: kernels and loaders have looked for it there
    // for decades.
    try_range(low, limit.min(USUAL_INITRD_LIMIT))
        .or_else(|| try_range(low, limit))
        .or_else(|| others.iter().rev().find_map(|range| try_range(range, limit)))
}

/// The highest start, a multiple of `unit`, of `size` bytes within `range`, from `floor` up to
/// `ceiling`.
fn highest(range: Range, ceiling: u64, floor: u64, size: u64, unit: u64) -> Option<u64> {
    // Down from the end, rounded down: the start only gets lower, so nothing leaves the range at
    // its top.
    let start = range.end().min(ceiling).checked_sub(size)?;
    let start = start - start % unit;
    (start >= floor.max(range.start)).then_some(start)
}
