//! What PID 1 reads, apart from what it does: so that it can be fuzzed and tested on any machine.

pub mod workload;
