//! The text form of a protocol-buffer message: names, numbers, quoted bytes, braces.
//!
//! What Go's `prototext` writes and reads, without lists, `Any` and groups, which this message has
//! not. Source: protobuf.dev, "Text Format Language Specification".

use super::{EvidenceError, MAX_FIELDS, Schema, Value, fault};

/// Messages inside messages; an attestation has two levels, extras and products three.
const MAX_DEPTH: u8 = 8;

/// The name that a text begins with.
pub(super) fn first_name(text: &str) -> Option<&str> {
    Some(Reader { rest: text }.name()).filter(|name| !name.is_empty())
}

/// The fields of a whole text.
pub(super) fn fields(text: &str, schema: Schema) -> Result<Vec<(u32, Value)>, EvidenceError> {
    // Whether the text is of this form is decided by its first word only; all else that is wrong
    // with it is an error of this form.
    let mut reader = Reader { rest: text };
    let found = reader.message(schema, MAX_DEPTH)?;
    if reader.rest.is_empty() { Ok(found) } else { Err(reader.here("a field was expected")) }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn here(&self, why: &str) -> EvidenceError {
        // Escaped by the `Debug` form, and short: it is foreign text in a message.
        let start: String = self.rest.chars().take(16).collect();
        fault(format!("text form: {why} at {start:?}"))
    }

    /// Over blanks and comments.
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let Some(comment) = self.rest.strip_prefix('#') else { return };
            self.rest = comment.split_once('\n').map_or("", |(_, after)| after);
        }
    }

    fn take(&mut self, c: char) -> bool {
        self.skip();
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn name(&mut self) -> &'a str {
        self.skip();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, after) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = after;
        name
    }

    fn message(&mut self, schema: Schema, depth: u8) -> Result<Vec<(u32, Value)>, EvidenceError> {
        // Recursion is bounded by this count, so the stack is too.
        let depth = depth.checked_sub(1).ok_or_else(|| self.here("too many messages"))?;
        let mut found = Vec::new();
        loop {
            self.skip();
            if self.rest.is_empty() || self.rest.starts_with(['}', '>']) {
                return Ok(found);
            }
            // An error names where the field began, not what could not be read of it.
            let before = self.rest;
            let name = self.name();
            let field = schema
                .number(name)
                .filter(|_| !name.is_empty())
                .ok_or_else(|| Reader { rest: before }.here("a field that is not known"))?;
            // A colon before a message is optional, before a scalar it is not; and a message may be
            // in braces or in angle brackets (Text Format, "Fields").
            let colon = self.take(':');
            let end = match () {
                () if self.take('{') => Some('}'),
                () if self.take('<') => Some('>'),
                () => None,
            };
            let value = match end {
                Some(end) => {
                    // What is not looked into is still read, so that its end is found, and as what
                    // has no known fields.
                    let inside = schema.inside(field).unwrap_or(Schema::Other);
                    let value = Value::Message(self.message(inside, depth)?);
                    if !self.take(end) {
                        return Err(self.here("the message does not end"));
                    }
                    value
                }
                None if colon => self.scalar()?,
                None => return Err(self.here("a colon was expected")),
            };
            // Number 0 says: a field that is read over.
            if field != 0 {
                if found.len() == MAX_FIELDS {
                    return Err(self.here("more than 1024 fields"));
                }
                found.push((field, value));
            }
            // One separator may follow a field.
            let _ = self.take(',') || self.take(';');
        }
    }

    fn scalar(&mut self) -> Result<Value, EvidenceError> {
        self.skip();
        if !self.rest.starts_with(['"', '\'']) {
            let before = self.rest;
            let word = self.name();
            if word.is_empty() {
                return Err(self.here("a value was expected"));
            }
            // The text format's integers: hexadecimal, octal with a leading zero, decimal. A sign
            // is none of them, as no field here is negative, and `from_str_radix` sees no `+`
            // because a name has none.
            let number = match word.strip_prefix("0x").or(word.strip_prefix("0X")) {
                Some(digits) => u64::from_str_radix(digits, 16),
                None if word.len() > 1 && word.starts_with('0') => u64::from_str_radix(word, 8),
                None => word.parse(),
            };
            return match number {
                Ok(number) => Ok(Value::Number(number)),
                // The name of an enumeration's value: of no field that is looked at.
                Err(_) if word.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                    Ok(Value::Bytes(Vec::new()))
                }
                Err(_) => Err(Reader { rest: before }.here("a number was expected")),
            };
        }
        // Strings that follow one another are one.
        let mut bytes = Vec::new();
        while let Some(quote) = self.rest.chars().next().filter(|c| ['"', '\''].contains(c)) {
            self.string(quote, &mut bytes)?;
            self.skip();
        }
        Ok(Value::Bytes(bytes))
    }

    fn string(&mut self, quote: char, bytes: &mut Vec<u8>) -> Result<(), EvidenceError> {
        let mut chars = self.rest.chars();
        chars.next();
        loop {
            // A string ends in its line.
            match chars.next() {
                None | Some('\n') => return Err(self.here("the string does not end")),
                Some('\\') => {
                    let after = escape(chars.as_str(), bytes);
                    chars = after.ok_or_else(|| self.here("an escape that is not known"))?.chars();
                }
                Some(c) if c == quote => {
                    self.rest = chars.as_str();
                    return Ok(());
                }
                Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }
}

/// What stands behind a backslash; returns what is behind that.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let mut chars = text.chars();
    let plain = match chars.next()? {
        'a' => 7,
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'v' => 11,
        'f' => 12,
        'r' => b'\r',
        '\\' => b'\\',
        '\'' => b'\'',
        '"' => b'"',
        '?' => b'?',
        // At most two digits of hexadecimal, three of octal, as many as there are; at least one.
        'x' | 'X' => return number(chars.as_str(), 16, 2, bytes),
        '0'..='7' => return number(text, 8, 3, bytes),
        'u' => return character(chars.as_str(), 4, bytes),
        'U' => return character(chars.as_str(), 8, bytes),
        _ => return None,
    };
    bytes.push(plain);
    Some(chars.as_str())
}

fn number<'a>(text: &'a str, radix: u32, most: usize, bytes: &mut Vec<u8>) -> Option<&'a str> {
    // More than 255 in three octal digits is no byte, and refused by the conversion.
    let digits = text.chars().take(most).take_while(|c| c.is_digit(radix)).count();
    // Digits are one byte each.
    let (digits, after) = text.split_at_checked(digits)?;
    bytes.push(u8::from_str_radix(digits, radix).ok()?);
    Some(after)
}

fn character<'a>(text: &'a str, digits: usize, bytes: &mut Vec<u8>) -> Option<&'a str> {
    // Exactly so many digits. Surrogates and what is beyond U+10FFFF are no characters, and
    // refused.
    let (digits, after) = text.split_at_checked(digits)?;
    let code = digits.chars().all(|c| c.is_ascii_hexdigit()).then_some(digits)?;
    let c = char::from_u32(u32::from_str_radix(code, 16).ok()?)?;
    bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    Some(after)
}
