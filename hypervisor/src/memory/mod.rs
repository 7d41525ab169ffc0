//! Guest memory: where it is ([`RamMap`]), the host mappings behind it ([`ram`]), which pages are
//! shared with the host ([`page_state`]), and what comes into it from a sealed file.

pub mod page_map;
pub mod page_state;
pub mod private_ram;
pub mod ram;
mod sealed;

pub use casemate_values::{
    GpaRange, HOLE_END, HOLE_START, PAGE_BYTES, PAGE_SIZE, RamMap, RangeError,
};
pub use page_map::PageMap;
pub use page_state::{PageStateTotals, PageStates, Refusal, Visibility};
pub use private_ram::{PrivateRam, Sides};
pub use ram::{GuestRam, RamError};
pub use sealed::SealedBytes;
