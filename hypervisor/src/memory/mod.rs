//! Guest memory: where it is ([`range`]), the host mappings behind it ([`ram`]), and which pages are shared
//! with the host ([`page_state`]).

pub mod page_state;
pub mod ram;
pub mod range;

pub use page_state::{PageStates, Refusal, Visibility};
pub use ram::{GuestRam, RamError};
pub use range::{GpaRange, HOLE_END, HOLE_START, PAGE_SIZE, RamMap, RangeError};
