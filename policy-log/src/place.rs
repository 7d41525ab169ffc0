//! Where a log is, and what is relied on.

use casemate_policy::log::SigningKey;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a program waits for others that write the log. A start has the log for some
/// milliseconds.
pub const WAIT: Duration = Duration::from_secs(10);

/// Where a log is kept, and what is relied on.
#[derive(Debug)]
pub struct LogFile {
    /// The log's file, as it was named.
    pub path: PathBuf,
    /// The key that signs its heads; without one it is chained only.
    pub key: Option<SigningKey>,
    /// The file that the newest head is kept in, too: best where nobody who can write the log can
    /// write.
    pub head: Option<PathBuf>,
    /// Take over records that no head vouches for, and a log whose head file is missing.
    pub adopt: bool,
    /// How long to wait for other writers.
    pub wait: Duration,
    /// Microseconds since 1970-01-01.
    pub clock: fn() -> u64,
}

impl LogFile {
    /// A log without key and head file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            key: None,
            head: None,
            adopt: false,
            wait: WAIT,
            clock: system_clock,
        }
    }
}

/// Microseconds since 1970-01-01; zero before.
fn system_clock() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}
