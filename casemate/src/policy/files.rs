//! Policies and inputs that `casemate policy` is given as files, and how their text is shown.

use crate::Failure;
use crate::files::bad_input;
use casemate_policy::document::MAX_DOCUMENT;
use casemate_policy::{Input, LoadError, Point, Policy};
use std::path::Path;

/// The text of a document; `-` is standard input. Reads no more than a document may have.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    casemate_files::read_input_text(path, limit).map_err(|error| bad_input(&error))
}

/// All errors of a document, one a line, without the characters that would steer a terminal.
pub fn refused(error: &LoadError) -> Failure {
    Failure::BadInput(printable(&error.to_string()))
}

/// Whether a character acts on the text around it without being seen: it turns the order of what is
/// read, or makes two names look alike (Unicode Standard Annex 9, and the zero-width ones).
const fn acts_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

/// The text with control characters, other than line feeds, and those that act unseen, made
/// visible.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = c == '\n' || !(c.is_control() || acts_unseen(c));
            let escaped = (!plain).then(|| c.escape_unicode());
            plain.then_some(c).into_iter().chain(escaped.into_iter().flatten())
        })
        .collect()
}

/// Reads a complete policy. `strict` and `permissive` name the built-in ones.
pub fn read_policy(path: &Path) -> Result<Policy, Failure> {
    read_policy_or_errors(path)?.map_err(|error| refused(&error))
}

/// The same; the errors of a document that could be read, but not taken, for those who show them in
/// another form.
pub fn read_policy_or_errors(path: &Path) -> Result<Result<Policy, LoadError>, Failure> {
    if let Some(policy) = path.to_str().and_then(Policy::builtin) {
        return Ok(Ok(policy));
    }
    let text = read_text(path)?;
    Ok(Policy::load(&text, &path.to_string_lossy()))
}

/// Reads an input and the point to decide it at.
pub fn read_input(path: &Path, point: Option<&str>) -> Result<(Point, Input), Failure> {
    let text = read_text(path)?;
    let input = Input::load(&text, &path.to_string_lossy()).map_err(|error| refused(&error))?;
    let point = match point {
        Some(name) => Point::from_name(name).ok_or_else(|| {
            let known: Vec<&str> = Point::ALL.into_iter().map(Point::name).collect();
            Failure::BadInput(format!("--point: {name:?} is none of {}", known.join(", ")))
        })?,
        None => input.point.ok_or_else(|| {
            Failure::BadInput("the input names no decision point; give --point NAME".into())
        })?,
    };
    Ok((point, input))
}

/// A JSON string.
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
