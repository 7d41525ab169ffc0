//! Guest memory: where it is ([`RamMap`]), the host mappings behind it ([`ram`]), and which pages
//! are shared with the host ([`page_state`]).

pub mod page_map;
pub mod page_state;
pub mod private_ram;
pub mod ram;

pub use casemate_values::{
    GpaRange, HOLE_END, HOLE_START, PAGE_BYTES, PAGE_SIZE, RamMap, RangeError,
};
pub use page_map::PageMap;
pub use page_state::{PageStateTotals, PageStates, Refusal, Visibility};
pub use private_ram::{PrivateRam, Sides};
pub use ram::{GuestRam, RamError};
