//! What happened to a VM, in lines: the newest, within a bound.
//!
//! A supervisor that is locked writes no file, and its standard error may be nobody's. So what it
//! saw and said last is kept here, for `casemate logs`. A line is text of ours in which what others
//! wrote is escaped and bounded; each has a number, so that who reads on knows what was left out.

use casemate_foreign_text::line;
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// Lines that are kept at most.
const KEPT: usize = 512;
/// Bytes of all kept lines together: what the supervisor's heap has for them.
const BYTES: usize = 48 * 1024;
/// Characters of a line.
const LONGEST: usize = 240;
/// Bytes of lines in one answer.
const PAGE: usize = 16 * 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, since the start.
    pub at: Duration,
    /// What: one line, escaped and bounded.
    pub text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.at.as_millis(), self.text)
    }
}

/// Lines that follow each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The number of the first. Greater than what was asked for, where lines between are not kept
    /// any more.
    pub first: u64,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Page {
    /// The number of the line behind these.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first.saturating_add(self.lines.len() as u64)
    }

    /// The page of an answer's text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (first, lines) = text.split_once('\n')?;
        let line = |text: &str| {
            let (at, text) = text.split_once(' ')?;
            let at = Duration::from_millis(at.parse().ok()?);
            Some(Line { at, text: text.to_owned() })
        };
        let lines = lines.split_terminator('\n').map(line).collect::<Option<_>>()?;
        Some(Self { first: first.parse().ok()?, lines })
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.first)?;
        self.lines.iter().try_for_each(|line| line.fmt(f))
    }
}

/// The newest lines of a VM.
#[derive(Debug, Default)]
pub(in crate::vm) struct Lines {
    /// The number of the first that is kept.
    first: u64,
    kept: VecDeque<Line>,
    bytes: usize,
}

impl Lines {
    /// Adds what happened.
    pub(in crate::vm) fn add(&mut self, at: Duration, what: impl fmt::Display) {
        let text = line(what).at_most(LONGEST).to_string();
        self.bytes = self.bytes.saturating_add(text.len());
        self.kept.push_back(Line { at, text });
        while self.kept.len() > KEPT || self.bytes > BYTES {
            let Some(gone) = self.kept.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(gone.text.len());
            self.first = self.first.saturating_add(1);
        }
    }

    /// The number of the line to come.
    pub(in crate::vm) fn next(&self) -> u64 {
        self.first.saturating_add(self.kept.len() as u64)
    }

    /// The lines from one on, as many as an answer has room for.
    pub(in crate::vm) fn page(&self, from: u64) -> Page {
        let from = from.clamp(self.first, self.next());
        let skipped = usize::try_from(from.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let mut room = PAGE;
        let fits = |line: &&Line| {
            let left = room.checked_sub(line.text.len());
            room = left.unwrap_or(0);
            left.is_some()
        };
        let lines = self.kept.iter().skip(skipped).take_while(fits).cloned().collect();
        Page { first: from, lines }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES, KEPT, LONGEST, Lines, PAGE};
    use std::time::Duration;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Protects a supervisor's memory from a VM to which much happens, and who reads from a gap
    /// that cannot be seen.
    #[test]
    fn the_newest_lines_are_kept_within_a_bound_and_what_is_left_out_can_be_told() {
        let mut lines = Lines::default();
        for number in 0..10_000 {
            lines.add(at(number), format_args!("line {number} {}", "x".repeat(9_000)));
            assert!(lines.kept.len() <= KEPT && lines.bytes <= BYTES);
        }
        assert_eq!(lines.next(), 10_000);
        let page = lines.page(0);
        assert!(page.first > 0 && page.first + lines.kept.len() as u64 == 10_000);
        assert!(page.lines[0].text.starts_with(&format!("line {} x", page.first)));
        // From page to page every line that is kept comes once.
        let (mut from, mut count) = (0, 0);
        while from < lines.next() {
            let page = lines.page(from);
            let bytes: usize = page.lines.iter().map(|line| line.text.len()).sum();
            assert!(!page.lines.is_empty() && bytes <= PAGE);
            (from, count) = (page.next(), count + page.lines.len());
        }
        assert_eq!(count, lines.kept.len());
        let beyond = lines.page(u64::MAX);
        assert!(beyond.lines.is_empty() && beyond.next() == 10_000);
    }

    #[test]
    fn a_line_is_one_line_whatever_is_in_it() {
        let mut lines = Lines::default();
        lines.add(at(1), "a\nb\x1b[2J");
        lines.add(at(2), "\u{10ffff}".repeat(LONGEST * 2));
        let page = lines.page(0);
        assert_eq!(page.lines[0].text, r"a\nb\u{1b}[2J");
        assert!(page.lines[1].text.chars().all(|c| !c.is_control()));
        assert_eq!(super::Page::parse(&page.to_string()), Some(page));
    }
}
