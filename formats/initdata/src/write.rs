//! Writing a document.

use crate::{ALGORITHM, Initdata, InitdataError, VERSION};
use std::fmt::Write;

/// The document of these members, in this order: the same for the same members, and readable.
///
/// # Errors
/// [`InitdataError`] where a reader would refuse it.
pub fn document<'m>(
    members: impl IntoIterator<Item = (&'m str, &'m str)>,
) -> Result<String, InitdataError> {
    let mut out = format!("version = \"{VERSION}\"\nalgorithm = \"{ALGORITHM}\"\n\n[data]\n");
    for (name, text) in members {
        out.push('"');
        escaped(&mut out, name, false);
        // The first line feed behind the quotes is none of the text's (TOML 1.0, "String").
        out.push_str("\" = \"\"\"\n");
        escaped(&mut out, text, true);
        out.push_str("\"\"\"\n");
    }
    Initdata::read(&out)?;
    Ok(out)
}

/// A text as a basic string of TOML has it. Over several lines, line feeds stand as they are, and
/// every other control character as an escape: readers may take a carriage return away.
fn escaped(out: &mut String, text: &str, lines: bool) {
    for c in text.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\n' if lines => out.push(c),
            '\t' => out.push(c),
            c if c.is_control() => {
                // Writing to a text cannot fail.
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}
