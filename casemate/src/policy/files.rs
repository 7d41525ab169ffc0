//! Policies and inputs that `casemate policy` is given as files, and how their text is shown.

use crate::Failure;
use crate::files::bad_input;
use casemate_files::{Access, FileError, create};
use casemate_policy::document::MAX_DOCUMENT;
use casemate_policy::{Input, LoadError, Point, Policy};
use std::io::ErrorKind;
use std::path::Path;

/// The text of a document; `-` is standard input. Reads no more than a document may have.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    casemate_files::read_input_text(path, limit).map_err(|error| bad_input(&error))
}

/// What messages call a document: its path, on one line whatever is in it. Every finding begins
/// with it, and who chose the name of a file must not begin findings of their own.
pub fn name_of(path: &Path) -> String {
    casemate_foreign_text::value(path.display()).at_most(4096).to_string()
}

/// All errors of a document, one a line, without the characters that would steer a terminal.
pub fn refused(error: &LoadError) -> Failure {
    Failure::BadInput(printable(&error.to_string()))
}

/// Lines of ours made fit for a terminal: the one printer of foreign text, which leaves line feeds.
pub fn printable(text: &str) -> String {
    casemate_foreign_text::text(text).to_string()
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
    Ok(Policy::load(&text, &name_of(path)))
}

/// Reads an input and the point to decide it at.
pub fn read_input(path: &Path, point: Option<&str>) -> Result<(Point, Input), Failure> {
    let text = read_text(path)?;
    let input = Input::load(&text, &name_of(path)).map_err(|error| refused(&error))?;
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

/// Writes a policy to a new file: what is there already is bad input, never written over.
pub fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    create(path, text.as_bytes(), Access::Usual).map_err(|error| match &error {
        FileError::Io { source, .. } if source.kind() != ErrorKind::AlreadyExists => {
            Failure::Failed(error.to_string())
        }
        _ => Failure::BadInput(error.to_string()),
    })
}

/// A JSON string.
pub fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
