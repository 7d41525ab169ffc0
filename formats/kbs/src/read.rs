//! Reading JSON within bounds.

use crate::{KbsError, What};
use serde::de::DeserializeOwned;

/// Longest body, in bytes, in either direction but for sealed resources. Evidence has 7 KiB,
/// with a certificate in it 12 KiB, and the rest is for initdata.
pub const MAX_BODY: usize = 64 * 1024;
/// Deepest JSON. The deepest of the protocol is a certificate's bytes within evidence: 6.
pub const MAX_DEPTH: usize = 16;

/// Reads a body: its length first, then its depth, then every member.
pub fn json<T: DeserializeOwned>(what: What, bytes: &[u8], most: usize) -> Result<T, KbsError> {
    // What is inside `tee-evidence` is not read here but by whoever verifies it, with a reader that
    // builds a tree: so the depth is counted over the whole text.
    if bytes.len() > most {
        return Err(KbsError::TooLong { what, found: bytes.len(), most });
    }
    if depth(bytes) > MAX_DEPTH {
        return Err(KbsError::TooDeep { what, most: MAX_DEPTH });
    }
    serde_json::from_slice(bytes).map_err(|error| malformed(what, &error))
}

/// The reader's message; it may quote the text that it read.
pub fn malformed(what: What, error: &serde_json::Error) -> KbsError {
    KbsError::Json { what, why: casemate_foreign_text::value(error).to_string() }
}

/// The deepest nesting of brackets outside strings. Of text that is no JSON it is some number, and
/// the reader says what is wrong.
fn depth(text: &[u8]) -> usize {
    let (mut deepest, mut depth, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth = depth.saturating_add(1);
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn read(text: &str) -> Result<Value, KbsError> {
        json(What::Request, text.as_bytes(), MAX_BODY)
    }

    /// Protects the readers behind this one, which recurse, from depth. Brackets in strings are
    /// no depth.
    #[test]
    fn json_is_read_to_a_depth_and_a_length_and_no_further() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(read(&nested(MAX_DEPTH + 1)), Err(KbsError::TooDeep { .. })));
        assert!(read(&format!("\"{}\\\"{}\"", "[".repeat(40), "{".repeat(40))).is_ok());
        let side_by_side = format!("[{}[]]", "[],".repeat(1000));
        assert!(read(&side_by_side).is_ok());
        let long = format!("\"{}\"", "x".repeat(MAX_BODY));
        assert!(matches!(read(&long), Err(KbsError::TooLong { .. })));
        assert!(read("{} {}").is_err());
    }

    /// A message goes into a log and back to whoever asked.
    #[test]
    fn what_is_said_of_bad_json_is_one_plain_line() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let text = format!("{{\"\\u001b[2J\\n{}\":1}}", "y".repeat(9000));
        let error = json::<Nothing>(What::Request, text.as_bytes(), MAX_BODY).unwrap_err();
        let message = error.to_string();
        assert!(message.len() < 4000 && !message.contains(['\n', '\u{1b}']), "{message}");
    }
}
