//! The serial console as it is asked for: where it goes, how long a slow reader is waited for.

use super::{ConfigError, parse_duration, parse_size};
use std::path::PathBuf;
use std::time::Duration;

/// How long a reader of the console that takes nothing is waited for, unless told otherwise.
pub const CONSOLE_WAIT: Duration = Duration::from_secs(300);
/// To what size a console file grows before it is set aside, unless told otherwise: 64 MiB.
pub const CONSOLE_LIMIT: u64 = 64 << 20;
/// From the power button to the end, unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(15);

/// Where the serial console goes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsoleTo {
    /// Standard input and output; a terminal gets nothing that could act on it.
    Stdio,
    /// The same, but a terminal gets every byte.
    Raw,
    /// A file, created or appended to; no input.
    File(PathBuf),
    /// A new pseudo-terminal, whose name is printed.
    Pty,
}

/// The serial console, checked: where it goes, and what is done with a slow reader.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Console {
    /// Where its bytes go, and where keys come from.
    pub to: ConsoleTo,
    /// How long a reader that takes nothing is waited for before bytes are lost; None: for ever.
    pub wait: Option<Duration>,
    /// To how many bytes a console file grows before it is set aside.
    pub limit: u64,
    /// The key that begins a command at a terminal, as the byte that it sends; None: no such key.
    pub escape: Option<u8>,
}

/// What was written about the console; the defaults are those of [`Console::default`].
#[derive(Debug, Default)]
pub(super) struct Written<'a> {
    pub(super) to: Option<ConsoleTo>,
    pub(super) wait: Option<&'a str>,
    pub(super) limit: Option<&'a str>,
    pub(super) escape: Option<&'a str>,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            to: ConsoleTo::Stdio,
            wait: Some(CONSOLE_WAIT),
            limit: CONSOLE_LIMIT,
            escape: Some(1),
        }
    }
}

impl Written<'_> {
    pub(super) fn check(self) -> Result<Console, ConfigError> {
        let default = Console::default();
        Ok(Console {
            to: self.to.unwrap_or(default.to),
            wait: self.wait.map_or(Ok(default.wait), wait)?,
            limit: self.limit.map_or(Ok(default.limit), limit)?,
            escape: self.escape.map_or(Ok(default.escape), escape)?,
        })
    }
}

fn wait(text: &str) -> Result<Option<Duration>, ConfigError> {
    match text {
        "forever" => Ok(None),
        text => parse_duration("console_wait", text).map(Some),
    }
}

/// At least a page, so that a set-aside file is worth its name; at most what a file offset can say.
fn limit(text: &str) -> Result<u64, ConfigError> {
    let bytes = parse_size("console_limit", text)?;
    if (4096..=1 << 50).contains(&bytes) {
        return Ok(bytes);
    }
    let remedy = "use a size from 4K to 1024T, such as 64M";
    Err(ConfigError::invalid("console_limit", format!("{text:?}"), remedy))
}

/// `ctrl-a` to `ctrl-z`, but those that a terminal or its user needs as they are; or `none`.
fn escape(text: &str) -> Result<Option<u8>, ConfigError> {
    // Backspace, Tab, both ends of a line, and the keys that stay signals.
    const TAKEN: &[u8] = b"chijmz";
    if text == "none" {
        return Ok(None);
    }
    let letter = text.to_ascii_lowercase();
    match letter.strip_prefix("ctrl-").map(str::as_bytes) {
        Some([letter @ b'a'..=b'z']) if !TAKEN.contains(letter) => Ok(Some(letter - b'a' + 1)),
        _ => {
            let remedy = "use ctrl-a, another letter but c, h, i, j, m and z, or none";
            Err(ConfigError::invalid("escape", format!("{text:?}"), remedy))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Console, Written};

    fn checked(written: Written<'_>) -> Result<Console, String> {
        written.check().map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_not_written_has_the_documented_default() {
        assert_eq!(checked(Written::default()), Ok(Console::default()));
    }

    #[test]
    fn keys_that_a_terminal_needs_cannot_be_the_escape_key() {
        let escape = |text| checked(Written { escape: Some(text), ..Written::default() });
        assert_eq!(escape("ctrl-b").unwrap().escape, Some(2));
        assert_eq!(escape("Ctrl-A").unwrap().escape, Some(1));
        assert_eq!(escape("none").unwrap().escape, None);
        for bad in ["ctrl-c", "ctrl-m", "ctrl-", "ctrl-ab", "a", "", "ctrl-1", "meta-a"] {
            assert!(escape(bad).unwrap_err().starts_with("`escape`"), "{bad}");
        }
    }

    #[test]
    fn waiting_and_size_are_bounded_unless_asked_for() {
        let wait = |text| checked(Written { wait: Some(text), ..Written::default() });
        assert_eq!(wait("forever").unwrap().wait, None);
        assert!(wait("never").unwrap_err().starts_with("`console_wait`"));
        let limit = |text| checked(Written { limit: Some(text), ..Written::default() });
        assert_eq!(limit("1M").unwrap().limit, 1 << 20);
        for bad in ["0", "1K", "x", "99999999T"] {
            assert!(limit(bad).unwrap_err().starts_with("`console_limit`"), "{bad}");
        }
    }
}
