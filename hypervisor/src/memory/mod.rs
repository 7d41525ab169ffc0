//! Guest memory: where it is ([`RamMap`]), the host mappings behind it ([`ram`]), which pages are
//! shared with the host ([`page_state`]) and how one becomes the other ([`conversion`]), and what
//! comes into it from a sealed file.

pub mod conversion;
pub mod page_map;
pub mod page_state;
pub mod ram;
mod sealed;

pub use casemate_values::{
    GpaRange, HOLE_END, HOLE_START, PAGE_BYTES, PAGE_SIZE, RamMap, RangeError,
};
pub use conversion::{PrivateRam, Sides};
pub use page_map::PageMap;
pub use page_state::{PageStateTotals, PageStates, Refusal, Visibility};
pub use ram::{GuestRam, RamError};
pub use sealed::SealedBytes;
