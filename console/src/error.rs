//! Why a console cannot be had.

use casemate_foreign_text::value;
use std::path::PathBuf;

/// Why the console could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The file cannot be used.
    #[error("`console`: cannot write {}: {source}", value(path.display()))]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Why it cannot be used.
        #[source]
        source: std::io::Error,
    },
    /// No pseudo-terminal.
    #[error("`console`: cannot make a pseudo-terminal: {0}")]
    Pty(#[source] std::io::Error),
    /// Standard output is closed.
    #[error("`console`: standard output cannot be used: {0}")]
    Stdio(#[source] std::io::Error),
}
