//! Both sides of a confidential VM's memory as the kernel has them: guest_memfds behind the private
//! one, the memory file behind the shared one.

use super::PrivateMemory;
use crate::memory::{GpaRange, GuestRam, Sides, Visibility};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::os::fd::AsFd;

/// The sides of a VM's memory in this process.
#[derive(Debug)]
pub struct KernelSides {
    ram: GuestRam,
    private: PrivateMemory,
}

impl KernelSides {
    /// Of `ram`, whose private side is `private`.
    #[must_use]
    pub fn new(ram: GuestRam, private: PrivateMemory) -> Self {
        Self { ram, private }
    }
}

impl Sides for KernelSides {
    fn set_private(&self, range: GpaRange, private: bool) -> Result<(), i32> {
        self.private.set_private(range, private)
    }

    fn give_up(&self, range: GpaRange, side: Visibility) -> Result<(), i32> {
        let mut file_offset = 0;
        for (slot, gmem) in self.private.slots() {
            if let Some(part) = slot.intersection(range) {
                let within = part.start() - slot.start();
                match side {
                    Visibility::Private => punch(gmem, within, part.size()),
                    Visibility::Shared => punch(self.ram.file(), file_offset + within, part.size()),
                }?;
            }
            file_offset += slot.size();
        }
        Ok(())
    }

    fn write(&self, gpa: u64, bytes: &[u8]) -> bool {
        self.ram.write(gpa, bytes).is_ok()
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
