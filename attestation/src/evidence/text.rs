//! Evidence written as text that is no JSON: bytes in hexadecimal or base64 as people and programs
//! write them, and go-sev-guest's text form. What is a text of another kind is named.

use super::{Evidence, EvidenceError, gosev};
use crate::report::REPORT_SIZE;
use crate::{base64, hex};

/// Reads a text, inside so many more layers of encoding.
pub(super) fn read(text: &str, layers: u8) -> Result<Evidence, EvidenceError> {
    let unknown = EvidenceError::UnknownForm(text.len());
    // Before it is taken for digits: offsets are some, too.
    if is_dump(text.trim()) {
        let how = "a hexadecimal dump; turn it into bytes with `xxd -r`";
        return Err(EvidenceError::Convert(how));
    }
    // Every form that is read has at least a report in it.
    // Hexadecimal first: most hexadecimal text is base64 as well, and what that gives is not what
    // was meant.
    let decoded = digits(text).or_else(|| base64::decode(text));
    if let Some(bytes) = decoded.filter(|bytes| bytes.len() >= REPORT_SIZE) {
        return Evidence::read_within(&bytes, layers);
    }
    if let Some(how) = other(text) {
        return Err(EvidenceError::Convert(how));
    }
    if let Some(bytes) = armoured(text) {
        return Evidence::read_within(&bytes, layers);
    }
    gosev::from_text(text).unwrap_or(Err(unknown))
}

/// Hexadecimal: digits alone, or each byte by itself, with `0x`, commas, colons or dashes.
fn digits(text: &str) -> Option<Vec<u8>> {
    hex::from_people(text).or_else(|| {
        let apart = text.replace("0x", " ").replace("\\x", " ");
        let pairs: Vec<&str> = apart
            .split(|c: char| c.is_ascii_whitespace() || ",:-;".contains(c))
            .filter(|pair| !pair.is_empty())
            .collect();
        // Two digits each: of one digit nobody can tell where it belongs.
        let whole = pairs.iter().all(|pair| pair.len() == 2);
        if whole { hex::decode(&pairs.concat()) } else { None }
    })
}

/// What is between the first lines of BEGIN and END, whatever they call it.
fn armoured(text: &str) -> Option<Vec<u8>> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (_, after) = after.split_once("-----")?;
    let (body, _) = after.split_once("-----END ")?;
    base64::decode(body)
}

/// Texts that are no evidence, or no longer are.
fn other(text: &str) -> Option<&'static str> {
    let text = text.trim();
    // `od` and `hexdump` leave out lines that repeat.
    if text.lines().any(|line| line.trim() == "*") {
        return Some(
            "a hexadecimal dump in which repeated lines are left out; make it anew with `xxd -p`",
        );
    }
    if text.contains("-----BEGIN CERTIFICATE-----") {
        return Some(
            "a certificate, not a report; give it with --cert, and the report in its place",
        );
    }
    // Three parts in base64url, the first an object in JSON (RFC 7519): what Azure's and other
    // verifiers answer.
    let parts = text.split('.').count();
    if text.starts_with("eyJ") && parts == 3 {
        return Some(
            "a JSON web token: a verifier's answer, and no evidence; give what it was made of",
        );
    }
    let start = text.get(..512).unwrap_or(text).to_ascii_lowercase();
    if start.starts_with("<!doctype html")
        || start.starts_with("<html")
        || start.starts_with("<?xml")
    {
        return Some("a page of a web server, perhaps its error, and no evidence");
    }
    None
}

/// Whether every line begins with an offset, the first of which is zero, as `xxd` and `hexdump -C`
/// write it.
fn is_dump(text: &str) -> bool {
    // Seven or eight digits of offset: xxd writes eight and a colon, hexdump eight and a blank, od
    // seven.
    let offset = |line: &str| {
        let end = line.find([':', ' ']).unwrap_or(line.len());
        let (offset, rest) = line.split_at_checked(end).unwrap_or((line, ""));
        offset.len() >= 7 && offset.bytes().all(|b| b.is_ascii_hexdigit()) && !rest.is_empty()
    };
    let mut lines = text.lines().filter(|line| !line.trim().is_empty()).take(4).peekable();
    let zero = |line: &&str| line.bytes().take_while(|byte| *byte == b'0').count() >= 7;
    lines.peek().is_some_and(zero) && lines.all(offset)
}
