//! What the commands about decision logs share: reading one, and saying what is wrong with it.

use crate::Failure;
use crate::out::outln;
use casemate_foreign_text::{line, value};
use casemate_policy::log::{LogReport, MAX_LINE, PublicKey, Record, Verifier};
use casemate_policy_log::{LogError, read_public_key};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

/// What the library says of a log, as the program reports it.
pub fn failure(error: &LogError) -> Failure {
    let text = error.to_string();
    if error.is_bad_input() { Failure::BadInput(text) } else { Failure::Failed(text) }
}

fn bad(path: &Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |error| Failure::BadInput(format!("{}: {error}", path.display()))
}

/// Feeds a log to a verifier, in memory that does not grow with it.
pub fn read(
    path: &Path,
    mut verifier: Verifier,
    mut each: impl FnMut(&Record, &str),
) -> Result<LogReport, Failure> {
    let file = casemate_files::open(path).map_err(|e| Failure::BadInput(e.to_string()))?;
    let mut file = BufReader::with_capacity(1 << 16, file);
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX).saturating_add(2);
    let mut line = Vec::new();
    loop {
        line.clear();
        file.by_ref().take(limit).read_until(b'\n', &mut line).map_err(bad(path))?;
        if line.last() != Some(&b'\n') {
            // Without its line feed a line is the torn end of the file, or too long to be a record.
            if u64::try_from(line.len()).unwrap_or(0) < limit {
                return Ok(verifier.finish(&line));
            }
            file.skip_until(b'\n').map_err(bad(path))?;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        if let Some(record) = verifier.line(text) {
            each(&record, std::str::from_utf8(text).unwrap_or_default());
        }
    }
}

/// The key in a file, if one was given.
pub fn public_key(path: Option<&Path>) -> Result<Option<PublicKey>, Failure> {
    path.map(read_public_key).transpose().map_err(|error| failure(&error))
}

/// What is wrong with a log.
pub fn print_problems(file: &Path, report: &LogReport) {
    for problem in &report.problems {
        outln!("{}: {}", value(file.display()), line(problem));
    }
    if report.more_problems > 0 {
        outln!("{}: {} more problems", value(file.display()), report.more_problems);
    }
}
