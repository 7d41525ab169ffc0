//! Numbers that a guest alleges, and what they may become.
//!
//! Everything that reads what a guest wrote, the vmm process and each device process, reads it into
//! these types: [`Guest`] for a number that is not one yet, [`GpaRange`] for guest physical
//! addresses that were checked.

mod gpa_range;
mod guest;

pub use gpa_range::{
    GpaRange, HOLE_END, HOLE_START, MAX_GPA, PAGE_BYTES, PAGE_SIZE, RamMap, RangeError,
};
pub use guest::{Guest, OutOfLimit, Shown};
