//! What PID 1 reads and writes in forms of its own, apart from what it does: so that it can be
//! fuzzed and tested on any machine.
#![forbid(unsafe_code)]

pub mod device_mapper;
pub mod workload;
