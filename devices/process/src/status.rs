//! Exit statuses of the image's processes, beside their last words.

/// Exit status of a process that ended as it should.
pub const DONE: i32 = 0;
/// Exit status of one that could not go on, after telling why.
pub const FAILED: i32 = 1;
