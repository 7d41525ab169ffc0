//! JSON (RFC 8259) to the tree, with offsets, duplicate keys refused and a bounded depth.

use super::tree::{Entry, Node, Value, shorten};
use super::{MAX_DEPTH, Sink};
use std::collections::BTreeSet;

/// Parses `text`; on an error reports it and returns `None`. JSON has no sensible way to go on
/// after a syntax error, so there is one at most.
pub(crate) fn parse(text: &str, sink: &mut Sink<'_>) -> Option<Node> {
    // A byte-order mark is skipped, as editors write it; offsets count it, so that errors stand at
    // their place.
    let mut reader = Reader { text, at: text.len() - text.trim_start_matches('\u{feff}').len() };
    let result = reader.value(0).and_then(|node| {
        // Only white space may follow: a second value would be read by nobody.
        reader.space();
        match reader.peek() {
            None => Ok(node),
            Some(_) => reader.fail("the end of the document"),
        }
    });
    match result {
        Ok(node) => Some(node),
        Err(error) => {
            sink.error(error.offset, "", error.message);
            None
        }
    }
}

struct Failure {
    offset: usize,
    message: String,
}

type Parsed<T> = Result<T, Failure>;

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn fail<T>(&self, expected: &str) -> Parsed<T> {
        let found = match self.rest().chars().next() {
            Some(c) => format!("{c:?}"),
            None => "the end of the document".into(),
        };
        self.error(format!("expected {expected}, found {found}"))
    }

    fn error<T>(&self, message: String) -> Parsed<T> {
        Err(Failure { offset: self.at, message })
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Parsed<Node> {
        // Recursion is bounded by this count, so the stack is too.
        if depth > MAX_DEPTH {
            return self.error(format!("more than {MAX_DEPTH} nested tables or lists"));
        }
        self.space();
        let offset = self.at;
        let value = match self.peek() {
            Some(b'{') => self.table(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => self.word()?,
        };
        Ok(Node { offset, value })
    }

    fn word(&mut self) -> Parsed<Value> {
        let words =
            [("true", Value::Bool(true)), ("false", Value::Bool(false)), ("null", Value::Null)];
        // `null` is read, though no field admits it: the message then is about the field.
        for (word, value) in words {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.fail("a value")
    }

    fn table(&mut self, depth: usize) -> Parsed<Value> {
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        // Duplicates are an error: RFC 8259, section 4, leaves open which of two values counts, and
        // two readers of one policy could decide differently.
        let mut seen: BTreeSet<String> = BTreeSet::new();
        self.space();
        if self.take(b'}') {
            return Ok(Value::Table(entries));
        }
        loop {
            self.space();
            let offset = self.at;
            if self.peek() != Some(b'"') {
                return self.fail("a key in quotes");
            }
            let key = self.string()?;
            if !seen.insert(key.clone()) {
                let message = format!("the key {:?} appears twice", shorten(&key));
                return Err(Failure { offset, message });
            }
            self.space();
            if !self.take(b':') {
                return self.fail("`:`");
            }
            let node = self.value(depth + 1)?;
            entries.push(Entry { offset, key, node });
            self.space();
            if self.take(b'}') {
                return Ok(Value::Table(entries));
            }
            if !self.take(b',') {
                return self.fail("`,` or `}`");
            }
        }
    }

    fn list(&mut self, depth: usize) -> Parsed<Value> {
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Value::List(items));
            }
            if !self.take(b',') {
                return self.fail("`,` or `]`");
            }
        }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Parsed<Value> {
        let start = self.at;
        self.take(b'-');
        // RFC 8259, section 6: no leading zeros, at least one digit on each side of a point.
        let leading_zero = self.peek() == Some(b'0');
        let digits = self.digits();
        if digits == 0 || (leading_zero && digits > 1) {
            return self.fail("a number without leading zeros");
        }
        if self.take(b'.') && self.digits() == 0 {
            return self.fail("a digit");
        }
        if self.take(b'e') || self.take(b'E') {
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return self.fail("a digit");
            }
        }
        // The number is read from its text, never by way of a floating-point value: only whole
        // numbers up to 2^63-1 are exact in every notation, and others are kept as they were
        // written, for the message.
        let written = self.text.get(start..self.at).unwrap_or_default();
        let whole = written.parse::<i64>().ok().and_then(|n| u64::try_from(n).ok());
        Ok(whole.map_or_else(|| Value::OtherNumber(written.to_owned()), Value::Number))
    }

    fn string(&mut self) -> Parsed<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return self.fail("`\"`") };
            match c {
                '"' => {
                    self.at += 1;
                    return Ok(out);
                }
                '\\' => out.push(self.escape()?),
                // RFC 8259, section 7: control characters stand in strings only as escapes.
                c if u32::from(c) < 0x20 => return self.fail("a character, not a control code"),
                c => {
                    self.at += c.len_utf8();
                    out.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        self.at += 1;
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return self.fail("an escape"),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Parsed<char> {
        let high = self.code_unit()?;
        // A code point beyond the first plane is a pair of escapes (section 7). Half a pair is no
        // character, and refused.
        let code = if (0xd800..0xdc00).contains(&high) && self.rest().starts_with("\\u") {
            self.at += 1;
            let low = self.code_unit()?;
            if !(0xdc00..0xe000).contains(&low) {
                return self.fail("the second half of a surrogate pair");
            }
            0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        match char::from_u32(code) {
            Some(c) => Ok(c),
            None => self.fail("a surrogate pair"),
        }
    }

    /// Reads `uXXXX`, at the `u`.
    fn code_unit(&mut self) -> Parsed<u32> {
        // Exactly four digits; `from_str_radix` alone would take a sign.
        let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return self.fail("four hexadecimal digits");
        }
        self.at += 5;
        Ok(u32::from_str_radix(digits, 16).unwrap_or(0))
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn write_string(out: &mut String, text: &str) {
    out.push('"');
    // Nearly every text needs no escape and is copied at once. DEL is escaped too: it is no control
    // character of JSON's, but of terminals.
    if text.bytes().all(|b| b >= 0x20 && !matches!(b, b'"' | b'\\' | 0x7f)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `text` as a JSON string.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(&mut out, text);
    out
}
