//! The pod with its annotation: its own text with one line more.
//!
//! The text is not written anew, which would lose comments and spelling. The line goes to where the
//! tree says that annotations are; then the text is read again, and is refused unless it says what
//! it said before, and the annotation.

use crate::Failure;
use base64ct::{Base64, Encoding};
use casemate_podspec::yaml::{self, Kind, Value};
use std::io::{Read, Write};

/// Where the runtime finds initdata.
pub(super) const ANNOTATION: &str = "casemate.dev/initdata";

/// A document of initdata as the annotation has it: gzip, then base64.
pub(super) fn packed(initdata: &str) -> Result<String, Failure> {
    let failed = |e: std::io::Error| Failure::Failed(format!("initdata: {e}"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(initdata.as_bytes()).map_err(failed)?;
    Ok(Base64::encode_string(&gzip.finish().map_err(failed)?))
}

/// The document in the annotation of a pod's text; None of a text without.
///
/// # Errors
/// A sentence, as [`unpacked`].
pub(super) fn of_pod(text: &str) -> Option<Result<String, &'static str>> {
    let documents = yaml::read(text).ok()?;
    documents.iter().find_map(annotation).map(unpacked)
}

/// The document in an annotation's value.
///
/// # Errors
/// A sentence, for what is no base64, no gzip, or more than initdata has.
fn unpacked(value: &str) -> Result<String, &'static str> {
    let most = casemate_initdata::MAX_SIZE as u64;
    let bytes = Base64::decode_vec(value).map_err(|_| "is no base64")?;
    let mut text = String::new();
    let gzip = flate2::read::GzDecoder::new(&bytes[..]);
    let read = gzip.take(most + 1).read_to_string(&mut text);
    read.map_err(|_| "is no gzip of a text")?;
    if text.len() as u64 > most {
        return Err("unpacks to more than 64 KiB");
    }
    Ok(text)
}

/// The text of a pod with the annotation of this document.
///
/// # Errors
/// [`Failure::BadInput`] for a text that the line has no place in.
pub(super) fn annotated(text: &str, initdata: &str) -> Result<String, Failure> {
    let bad = |why: &str| {
        let why = format!("the annotation cannot be put into this text: {why}");
        Err(Failure::BadInput(format!("{why}; --initdata prints what it is made of")))
    };
    let before = match yaml::read(text) {
        Ok(before) => before,
        Err(error) => return bad(&error.to_string()),
    };
    let value = packed(initdata)?;
    let Some((at, line)) = before.iter().find_map(|one| place(one, &value)) else {
        return bad("metadata is not written as lines of its own");
    };
    let mut lines: Vec<&str> = text.lines().collect();
    match at {
        Place::Before(number) if number <= lines.len() => lines.insert(number, &line),
        Place::Instead(number) => match lines.get_mut(number) {
            Some(place) => *place = &line,
            None => return bad("it ends early"),
        },
        Place::Before(_) => return bad("it ends early"),
    }
    let after = lines.join("\n") + "\n";
    let same = yaml::read(&after).is_ok_and(|after| {
        let found = after.iter().find_map(annotation);
        found == Some(value.as_str())
            && before.len() == after.len()
            && before.iter().zip(&after).all(|(one, other)| stripped(one) == stripped(other))
    });
    if same { Ok(after) } else { bad("it would say something else") }
}

/// Where the line goes; numbers count from 0.
enum Place {
    Before(usize),
    Instead(usize),
}

fn place(document: &Value, value: &str) -> Option<(Place, String)> {
    if document.get("kind").and_then(Value::text) != Some("Pod") {
        return None;
    }
    let line = |column: usize| format!("{}{ANNOTATION}: {value}", " ".repeat(column));
    let (key, metadata) = document.entries()?.iter().find(|(key, _)| key.name == "metadata")?;
    let inner = metadata.entries()?.first()?;
    if inner.0.line == key.line {
        return None;
    }
    let annotations = metadata.entries()?.iter().find(|(key, _)| key.name == "annotations");
    let Some((key, annotations)) = annotations else {
        let column = inner.0.column;
        let text = format!("{}annotations:\n{}", " ".repeat(column), line(column + 2));
        return Some((Place::Before(inner.0.line - 1), text));
    };
    let entries = annotations.entries().unwrap_or_default();
    if let Some((own, value)) = entries.iter().find(|(key, _)| key.name == ANNOTATION) {
        let plain = own.line != key.line && value.line == own.line;
        return plain.then(|| (Place::Instead(own.line - 1), line(own.column)));
    }
    let first = entries.first().filter(|(first, _)| first.line != key.line)?;
    Some((Place::Before(first.0.line - 1), line(first.0.column)))
}

/// The annotation of a pod.
fn annotation(document: &Value) -> Option<&str> {
    document.get("metadata")?.get("annotations")?.get(ANNOTATION)?.text()
}

/// What a value says, without lines and the annotation.
fn stripped(value: &Value) -> Value {
    let kind = match &value.kind {
        Kind::List(list) => Kind::List(list.iter().map(stripped).collect()),
        Kind::Map(entries) => {
            let kept = entries.iter().filter(|(key, _)| key.name != ANNOTATION);
            let one = |(key, value): &(yaml::Key, Value)| {
                let key = yaml::Key { line: 0, column: 0, name: key.name.clone() };
                (key, stripped(value))
            };
            // Annotations that were made for this one alone.
            let empty = |(key, value): &(yaml::Key, Value)| {
                key.name == "annotations" && value.entries().is_some_and(<[_]>::is_empty)
            };
            Kind::Map(kept.map(one).filter(|entry| !empty(entry)).collect())
        }
        kind => kind.clone(),
    };
    Value { line: 0, kind }
}

#[cfg(test)]
mod tests {
    use super::{annotated, packed, unpacked};

    #[test]
    fn a_document_is_packed_and_unpacked_and_bombs_are_not() {
        let text = "version = \"0.1.0\"\n".repeat(100);
        assert_eq!(unpacked(&packed(&text).unwrap()).as_deref(), Ok(text.as_str()));
        assert!(unpacked("%").is_err());
        assert!(unpacked("AAAA").is_err());
        assert!(unpacked(&packed(&"x".repeat(1 << 20)).unwrap()).is_err());
    }

    #[test]
    fn the_annotation_is_one_line_more_and_all_else_stays() {
        let line = format!("casemate.dev/initdata: {}", packed("x").unwrap());
        for (before, after) in [
            (
                "kind: Pod # mine\nmetadata:\n  name: a\n",
                format!("kind: Pod # mine\nmetadata:\n  annotations:\n    {line}\n  name: a\n"),
            ),
            (
                "kind: Pod\nmetadata:\n    annotations:\n        a: b\n",
                format!("kind: Pod\nmetadata:\n    annotations:\n        {line}\n        a: b\n"),
            ),
            (
                "kind: Pod\nmetadata:\n  annotations:\n    casemate.dev/initdata: old\n",
                format!("kind: Pod\nmetadata:\n  annotations:\n    {line}\n"),
            ),
        ] {
            assert_eq!(annotated(before, "x").unwrap(), after);
        }
        for none in [
            "kind: Pod\nmetadata: {name: a}\n",
            "kind: Pod\nmetadata:\n  annotations: {a: b}\n",
            "kind: Pod\n",
        ] {
            assert!(annotated(none, "x").is_err(), "{none}");
        }
    }
}
