//! The memory table: guest memory as the front end hands it over.

use casemate_device_queue::{Memory, Region};
use std::fs::File;
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use vhost::vhost_user::message::VhostUserMemoryRegion;

/// Whose guest it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A VM of our own: guest memory and every event are sent once, before the lock.
    Ours,
    /// Another VMM's: it sends what it wants, when it wants.
    Foreign,
}

/// Called with each mapping of guest memory, before anything reads it.
pub type Guard = Box<dyn FnMut(NonNull<u8>, usize) -> io::Result<()> + Send>;

/// Guest memory, and where the front end has it: rings are named by its addresses.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) memory: Arc<Memory>,
    /// The front end's address, the guest's, bytes.
    users: Vec<(u64, u64, u64)>,
}

impl Table {
    /// Maps the regions. The files are closed: a mapping needs none, and who holds a memory file
    /// can make it grow.
    pub(crate) fn map(
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        guard: &mut Guard,
    ) -> io::Result<Self> {
        let mut mapped = Vec::with_capacity(regions.len());
        let mut users = Vec::with_capacity(regions.len());
        for (region, file) in regions.iter().zip(files) {
            // The message is packed: fields are copied out, not borrowed.
            let (gpa, size) = (region.guest_phys_addr, region.memory_size);
            let (user, offset) = (region.user_addr, region.mmap_offset);
            let region = Region::map(&file, offset, gpa, size).map_err(io::Error::other)?;
            let (start, len) = region.mapping();
            guard(start, len)?;
            mapped.push(region);
            users.push((user, gpa, size));
        }
        let memory = Memory::new(mapped).map_err(io::Error::other)?;
        Ok(Self { memory: Arc::new(memory), users })
    }

    /// The guest's address for one of the front end's. Which of two regions with the same address
    /// is meant does not matter: the ring is looked for in guest memory afterwards.
    pub(crate) fn gpa(&self, user: u64) -> Option<u64> {
        self.users.iter().find_map(|(start, gpa, size)| {
            let offset = user.checked_sub(*start).filter(|offset| offset < size)?;
            gpa.checked_add(offset)
        })
    }
}
