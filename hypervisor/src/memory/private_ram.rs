//! Page states of a confidential VM: private pages are in guest_memfds, shared ones in the mapped memory file.
//!
//! A conversion tells KVM first and then gives up the side that is left, so that memory is never held twice and
//! nothing stale comes back when the page returns. All of a range is checked before its first page changes.

use super::{GpaRange, GuestRam, PageStates, Refusal, Visibility};
use crate::kvm::PrivateMemory;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The page states of one confidential VM.
#[derive(Debug)]
pub struct PrivateRam {
    ram: GuestRam,
    private: PrivateMemory,
    limit: u64,
    converted: AtomicU64,
}

/// Pages that a guest may convert over its life, per page of its RAM: a stock guest converts a small part of its
/// memory a handful of times; one that converts for ever only costs its host.
const CONVERSIONS_PER_PAGE: u64 = 4096;

impl PrivateRam {
    /// The states of `ram`, whose private side is `private`.
    #[must_use]
    pub fn new(ram: GuestRam, private: PrivateMemory) -> Self {
        let pages = ram.map().size() / super::PAGE_SIZE;
        let limit = pages.saturating_mul(CONVERSIONS_PER_PAGE);
        Self { ram, private, limit, converted: AtomicU64::new(0) }
    }

    /// Counts the pages of a conversion.
    fn may_convert(&self, pages: u64) -> bool {
        self.converted
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |done| {
                done.checked_add(pages).filter(|done| *done <= self.limit)
            })
            .is_ok()
    }

    /// Gives up one side of `range`: shared pages of the memory file, or private pages of a guest_memfd.
    fn punch(&self, range: GpaRange, side: Visibility) -> Result<(), i32> {
        let mut file_offset = 0;
        for (slot, gmem) in self.private.slots() {
            if let Some(part) = slot.intersection(range) {
                let within = part.start() - slot.start();
                let done = match side {
                    Visibility::Private => punch(gmem, within, part.size()),
                    Visibility::Shared => punch(self.ram.file(), file_offset + within, part.size()),
                };
                done?;
            }
            file_offset += slot.size();
        }
        Ok(())
    }
}

fn punch(file: impl AsFd, offset: u64, len: u64) -> Result<(), i32> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    loop {
        match fallocate(&file, flags, offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.raw_os_error()),
        }
    }
}

impl PageStates for PrivateRam {
    fn convert(&self, range: GpaRange, to: Visibility) -> Result<(), Refusal> {
        if !self.ram.map().covers(range) {
            return Err(Refusal::NotRam);
        }
        if !self.may_convert(range.pages()) {
            return Err(Refusal::RateLimit);
        }
        let private = to == Visibility::Private;
        self.private.set_private(range, private).map_err(Refusal::Kernel)?;
        let given_up = if private { Visibility::Shared } else { Visibility::Private };
        self.punch(range, given_up).map_err(|errno| {
            // What KVM believes must be what the guest is told.
            let _ = self.private.set_private(range, !private);
            Refusal::Kernel(errno)
        })
    }
}
