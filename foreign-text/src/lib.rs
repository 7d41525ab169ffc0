//! Foreign text: what a guest, a file, evidence, a certificate or a peer wrote, made fit to be
//! printed.
//!
//! A terminal obeys what it is shown. A field name of evidence with ESC in it moves the cursor,
//! sets the title or makes the terminal type into the shell; a newline forges a line of ours
//! ("ACCEPTED"); a right-to-left override turns a line around; zero-width letters make two names
//! look alike; a megabyte buries the message. So all of it goes through here: **escaped, bounded,
//! one line**.
//!
//! - [`value`] is for one foreign value inside a message of ours: every escape is unambiguous,
//!   because the backslash is escaped, too.
//! - [`bytes`] is the same for bytes that may be no UTF-8.
//! - [`line()`] is for a whole message that is ours with foreign parts in it (an error of a
//!   parser): a backslash stays, since parts of the message may have been through [`value`]
//!   already.
//! - [`text`] is for several lines of ours, where each foreign part has been through the above: a
//!   backstop for a whole output stream, which keeps line feeds and nothing else that commands.
//! - [`json`] makes JSON that a serialiser wrote safe for a terminal without changing what it says.
//!
//! What is escaped is what the standard library calls not printable (control and format characters,
//! bidi overrides, zero-width characters, separators but the blank, private and unassigned code
//! points) or extending (combining marks, which pile up on the character before), and the few
//! letters that are blank.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Formatter, Write};

/// Characters of a value that are shown unless another limit is given.
pub const VALUE: usize = 256;
/// Characters of a message that are shown unless another limit is given.
pub const LINE: usize = 2048;
/// Characters of several lines that are shown unless another limit is given.
pub const TEXT: usize = 1024 * 1024;

/// Letters and symbols that show nothing: Hangul fillers and the Braille blank.
const BLANK: [char; 5] = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}', '\u{2800}'];

/// Whether a character can be shown as it is: it is one visible glyph and commands nothing.
#[must_use]
pub fn is_plain(c: char) -> bool {
    match c {
        ' '..='~' => true,
        c if BLANK.contains(&c) => false,
        // `escape_debug` leaves exactly the printable, not extending characters alone (and escapes
        // quotes and the backslash, which the first arm has).
        c => c.escape_debug().eq([c]),
    }
}

/// Text made fit to be printed; see the functions that make one.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Foreign<T> {
    text: T,
    limit: usize,
    kept: Kept,
}

/// What is left alone beside plain characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Nothing,
    Backslash,
    BackslashAndLineFeed,
}

/// One foreign value inside a message: escaped, at most [`VALUE`] characters, one line.
pub const fn value<T: Display>(text: T) -> Foreign<T> {
    Foreign { text, limit: VALUE, kept: Kept::Nothing }
}

/// A whole message with foreign parts in it: escaped but for backslashes, at most [`LINE`]
/// characters, one line.
pub const fn line<T: Display>(text: T) -> Foreign<T> {
    Foreign { text, limit: LINE, kept: Kept::Backslash }
}

/// Lines of ours whose foreign parts were made fit before: escaped but for backslashes and line
/// feeds, at most [`TEXT`] characters. A foreign line feed passes, so this alone is not enough for
/// anything foreign.
pub const fn text<T: Display>(text: T) -> Foreign<T> {
    Foreign { text, limit: TEXT, kept: Kept::BackslashAndLineFeed }
}

/// Foreign bytes that should be UTF-8 text: as [`value`], with every byte that is none as `\xNN`.
pub const fn bytes(bytes: &[u8]) -> Foreign<Lossless<'_>> {
    Foreign { text: Lossless(bytes), limit: VALUE, kept: Kept::Nothing }
}

impl<T> Foreign<T> {
    /// The same with at most `limit` characters of the original.
    pub const fn at_most(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl<T: Display> Display for Foreign<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Escaping { to: f, left: self.limit, cut: 0, kept: self.kept };
        write!(out, "{}", self.text)?;
        let cut = out.cut;
        if cut > 0 { write!(f, "… ({cut} more characters)") } else { Ok(()) }
    }
}

/// Bytes whose invalid parts are shown as private code points, which printing turns into
/// `\xNN`.
#[derive(Debug, Clone, Copy)]
pub struct Lossless<'a>(&'a [u8]);

/// The code point that stands for the invalid byte 0 inside this crate: plane 16 is private use, so
/// no text that is shown as it is can contain it.
const INVALID: u32 = 0x10_ff00;

impl Display for Lossless<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            for byte in chunk.invalid() {
                let stand_in = char::from_u32(INVALID.saturating_add(u32::from(*byte)));
                f.write_char(stand_in.unwrap_or(char::REPLACEMENT_CHARACTER))?;
            }
        }
        Ok(())
    }
}

/// Escapes what is written through it, and stops after so many characters.
struct Escaping<'a, 'b> {
    to: &'a mut Formatter<'b>,
    left: usize,
    cut: usize,
    kept: Kept,
}

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            // Counted on after the limit, not stopped: the message says how much was left out.
            let Some(left) = self.left.checked_sub(1) else {
                self.cut = self.cut.saturating_add(1);
                continue;
            };
            self.left = left;
            match c {
                '\\' if self.kept == Kept::Nothing => self.to.write_str("\\\\")?,
                '\n' if self.kept == Kept::BackslashAndLineFeed => self.to.write_char(c)?,
                '\n' => self.to.write_str("\\n")?,
                '\r' => self.to.write_str("\\r")?,
                '\t' => self.to.write_str("\\t")?,
                // The escapes come from the same two lines for everything that is not plain: a byte
                // that was no UTF-8 as `\xNN`, any other character as `\u{…}`.
                c if is_plain(c) => self.to.write_char(c)?,
                c => match u32::from(c).checked_sub(INVALID).filter(|byte| *byte < 0x100) {
                    Some(byte) => write!(self.to, "\\x{byte:02x}")?,
                    None => write!(self.to, "\\u{{{:x}}}", u32::from(c))?,
                },
            }
        }
        Ok(())
    }
}

/// JSON text of a serialiser with every character outside of ASCII that is not plain, and DEL, as
/// `\uNNNN`.
///
/// A serialiser escapes what JSON demands: controls below 0x20. DEL, the C1 controls (0x9b begins a
/// control sequence by itself) and bidi overrides pass it. All of these can stand in strings only,
/// where an escape means the same character, so what the document says does not change. Line feeds
/// and blanks between the values stay.
#[must_use]
pub fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || is_plain(c) {
            out.push(c);
        } else {
            // Beyond the first plane two escapes, a surrogate pair, are one character (RFC 8259,
            // section 7).
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{BLANK, VALUE, bytes, is_plain, json, line, text, value};

    /// Protects the terminal of whoever reads a message: nothing that commands it passes, whatever
    /// the character. Cannot tell whether a font shows two different plain letters alike.
    #[test]
    fn no_character_that_commands_a_terminal_or_hides_passes() {
        for c in (0..=0x10_ffff).filter_map(char::from_u32) {
            let shown = value(c).to_string();
            assert_eq!(shown.lines().count(), 1, "{c:?}");
            assert!(shown.chars().all(is_plain), "{c:?} is shown as {shown:?}");
            assert!(line(c).to_string().chars().all(is_plain), "{c:?} in a line");
        }
        // Named, so that a later table of the standard library cannot quietly let them through.
        let bidi = ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let marks =
            ['\u{200e}', '\u{200f}', '\u{61c}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}'];
        let more = ['\u{feff}', '\u{ad}', '\u{7f}', '\u{9b}', '\u{90}', '\u{2028}', '\u{2029}'];
        let rest = ['\u{85}', '\u{a0}', '\u{fe0f}', '\u{e0041}', '\u{301}', '\u{180e}', '\u{e000}'];
        for c in bidi.chain(marks).chain(more).chain(rest).chain(BLANK).chain('\0'..' ') {
            assert!(!is_plain(c), "{c:?}");
        }
        for c in "Zażółć gęślą jaźń, 日本語, ελληνικά, ✓ — “quoted” 'it' \"is\"".chars()
        {
            assert!(is_plain(c), "{c:?}");
        }
    }

    /// Protects against a forged line and against two texts that print alike.
    #[test]
    fn different_values_are_shown_differently_on_one_line() {
        let texts =
            ["a\nb", "a\\nb", "a\\\\nb", "a\u{1b}[2J", "a\\u{1b}[2J", "a b", "a\u{a0}b", ""];
        let shown: std::collections::BTreeSet<String> =
            texts.iter().map(|text| value(text).to_string()).collect();
        assert_eq!(shown.len(), texts.len());
        assert_eq!(value("\u{1b}[31mACCEPTED\r\n").to_string(), "\\u{1b}[31mACCEPTED\\r\\n");
        assert_eq!(line(value("a\nb")).to_string(), "a\\nb", "a line does not escape twice");
        let lines = format!("one\n{}\u{9b}\r", value("a\nb"));
        assert_eq!(text(lines).to_string(), "one\na\\nb\\u{9b}\\r");
    }

    /// Protects the message from being buried: what is shown is bounded, and says what was left
    /// out.
    #[test]
    fn a_long_text_is_cut_and_says_so() {
        let long = "x".repeat(1_000_000);
        let shown = value(&long).to_string();
        assert!(shown.starts_with(&"x".repeat(VALUE)));
        assert!(shown.ends_with(&format!("… ({} more characters)", 1_000_000 - VALUE)));
        assert_eq!(value("abc").at_most(3).to_string(), "abc");
        assert_eq!(value("abcd").at_most(3).to_string(), "abc… (1 more characters)");
        // The longest escape of one character has ten bytes: the bound on characters bounds the
        // bytes.
        assert!(value("\u{e0041}".repeat(5000)).to_string().len() < 10 * VALUE + 64);
    }

    /// Protects bytes that are no text from being shown as the text that they are not.
    #[test]
    fn bytes_that_are_no_utf_8_are_shown_as_numbers() {
        assert_eq!(bytes(b"ok \xff\xfe\x80 \xe2\x82").to_string(), "ok \\xff\\xfe\\x80 \\xe2\\x82");
        assert_eq!(bytes("gr\u{fc}n".as_bytes()).to_string(), "gr\u{fc}n");
        // The stand-ins are private to this crate in effect: a text that has one shows an escape,
        // too.
        assert!(value("\u{10ff1b}").to_string().starts_with('\\'));
    }

    /// Protects readers of JSON on a terminal; what a parser reads out of it is the same.
    #[test]
    fn json_for_a_terminal_has_nothing_but_plain_characters() {
        let written = "{\n  \"a\u{202e}b\": \"\u{9b}31m \u{7f} \u{e0041} gr\u{fc}n\"\n}";
        let safe = json(written);
        assert!(safe.chars().all(|c| c == '\n' || is_plain(c)));
        assert_eq!(safe, "{\n  \"a\\u202eb\": \"\\u009b31m \\u007f \\udb40\\udc41 gr\u{fc}n\"\n}");
    }
}
