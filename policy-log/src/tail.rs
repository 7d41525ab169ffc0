//! The lines of a file from its end, one at a time, in memory that does not grow with it.

use crate::LogError;
use casemate_policy::log::MAX_LINE;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Read at a time. More than one line, so that most steps need one read.
const CHUNK: usize = 2 * (MAX_LINE + 1);

/// Walks the lines of a file backwards.
#[derive(Debug)]
pub(crate) struct Backwards<'a> {
    file: &'a File,
    path: &'a Path,
    /// What was read, and where in the file it begins. All from `end` on was given out.
    bytes: Vec<u8>,
    start: u64,
    end: usize,
}

impl<'a> Backwards<'a> {
    /// From the end of a file of `length` bytes. The bytes behind its last line feed come first, as
    /// the second value: a torn line, at most [`MAX_LINE`] long.
    pub(crate) fn new(
        file: &'a File,
        path: &'a Path,
        length: u64,
    ) -> Result<(Self, Vec<u8>), LogError> {
        let mut walk = Self { file, path, bytes: Vec::new(), start: length, end: 0 };
        walk.fill()?;
        let whole = walk.rest().iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let torn = walk.rest().get(whole..).unwrap_or_default().to_vec();
        if torn.len() > MAX_LINE {
            return Err(LogError::no_log(path, "its last line is longer than a record"));
        }
        walk.end = whole;
        Ok((walk, torn))
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(..self.end).unwrap_or_default()
    }

    /// Puts the bytes before `start` in front of what is left.
    fn fill(&mut self) -> Result<(), LogError> {
        let more = usize::try_from(self.start).unwrap_or(CHUNK).min(CHUNK);
        self.start = self.start.saturating_sub(u64::try_from(more).unwrap_or(0));
        let mut bytes = vec![0; more];
        self.file.read_exact_at(&mut bytes, self.start).map_err(LogError::io(self.path))?;
        bytes.extend_from_slice(self.rest());
        self.end = bytes.len();
        self.bytes = bytes;
        Ok(())
    }

    /// The line before, without its line feed; none before the first.
    pub(crate) fn line(&mut self) -> Result<Option<&[u8]>, LogError> {
        loop {
            let rest = self.rest();
            // The last byte is the line feed of the line that is wanted.
            let Some(text) = rest.len().checked_sub(1) else { return Ok(None) };
            let before = rest.get(..text).unwrap_or_default();
            let begin = match before.iter().rposition(|b| *b == b'\n') {
                Some(at) => at + 1,
                None if self.start == 0 => 0,
                None if text > MAX_LINE => {
                    return Err(LogError::no_log(self.path, "a line is longer than a record"));
                }
                None => {
                    self.fill()?;
                    continue;
                }
            };
            self.end = begin;
            return Ok(self.bytes.get(begin..text));
        }
    }
}
