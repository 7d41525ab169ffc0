//! Lists of a document: names, globs, directories, byte strings, choices.

use super::{MAX_MEMBERS, MAX_TEXT, Node, Sink, Value, suggest};
use crate::fields::Kind;
use crate::lattice::{Bytes, Pattern};

/// A list of texts with their offsets; `None` after an error.
pub(super) fn texts<'n>(
    node: &'n Node,
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<Vec<(usize, &'n str)>> {
    let Value::List(items) = &node.value else {
        let found = node.value.describe();
        sink.error(node.offset, path, format!("expected {expected}, found {found}"));
        return None;
    };
    // The number is bounded before a member is looked at, the length of each after.
    if items.len() > MAX_MEMBERS {
        sink.error(node.offset, path, format!("more than {MAX_MEMBERS} members"));
        return None;
    }
    let mut out = Vec::with_capacity(items.len());
    let mut good = true;
    for item in items {
        match &item.value {
            Value::Text(text) if text.len() <= MAX_TEXT => out.push((item.offset, text.as_str())),
            Value::Text(_) => {
                good = false;
                sink.error(item.offset, path, format!("a text longer than {MAX_TEXT} bytes"));
            }
            other => {
                good = false;
                let found = other.describe();
                sink.error(item.offset, path, format!("expected {expected}, found {found} in it"));
            }
        }
    }
    good.then_some(out)
}

/// Applies `parse` to every text, reporting each that it refuses.
fn each<T>(
    texts: Vec<(usize, &str)>,
    path: &str,
    sink: &mut Sink<'_>,
    parse: impl Fn(&str) -> Result<T, (String, Option<String>)>,
) -> Option<Vec<T>> {
    let mut out = Vec::with_capacity(texts.len());
    // All members are read, whatever one of them is: all errors of a list come at once.
    let mut good = true;
    for (offset, text) in texts {
        if sink.full() {
            return None;
        }
        match parse(text) {
            Ok(value) => out.push(value),
            Err((message, help)) => {
                good = false;
                sink.error_with_help(offset, path, message, help);
            }
        }
    }
    good.then_some(out)
}

/// One anchored glob, or why it is none.
pub(crate) fn pattern(text: &str) -> Result<Pattern, (String, Option<String>)> {
    let (literal, prefix) = match text.strip_suffix('*') {
        Some(literal) => (literal, true),
        None => (text, false),
    };
    // One star, at the end: such patterns are prefixes, of which it can be decided what they have
    // in common. A star elsewhere means what a reader thinks, or not, and is refused.
    if literal.contains('*') {
        let message = format!("{text:?} has a `*` that is not at its end");
        return Err((message, Some("list the texts, or end the pattern there".into())));
    }
    // A lone `*` is `any`, which has to be written so that it can be seen and searched.
    if prefix && literal.is_empty() {
        let message = "a pattern that matches everything".to_owned();
        return Err((message, Some("write the field as \"any\" if that is meant".into())));
    }
    // `any` in a list looks like the wildcard and would be a name.
    if matches!(text, "any" | "nothing") {
        let message = format!("{text:?} inside a list is a text like any other and not meant");
        return Err((message, Some(format!("write the field as \"{text}\", without the list"))));
    }
    Ok(if prefix { Pattern::prefix(literal) } else { Pattern::exact(literal) })
}

/// A list of anchored globs.
pub(super) fn patterns(
    node: &Node,
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<Vec<Pattern>> {
    let found = texts(node, path, expected, sink)?;
    each(found, path, sink, pattern)
}

/// An absolute path without `.`, `..` and empty parts, with one final `/`, so that a directory is a
/// prefix of exactly what lies in it; `None` for any other text.
pub(crate) fn normal_path(text: &str) -> Option<String> {
    let body = text.strip_prefix('/')?.trim_end_matches('/');
    // Lexical only: the document may be read where the directory is not. Whoever opens files
    // resolves links before a path is asked about.
    let clean = body.is_empty() || body.split('/').all(|part| !matches!(part, "" | "." | ".."));
    let sound = clean && !text.ends_with("//") && !text.contains('\0');
    sound.then(|| if body.is_empty() { "/".to_owned() } else { format!("/{body}/") })
}

/// A list of directories, and of words that are none: a path begins with `/`, so no directory
/// covers what a word stands for, and no word what lies in a directory.
pub(super) fn roots(
    node: &Node,
    path: &str,
    (words, expected): (&[&str], &str),
    sink: &mut Sink<'_>,
) -> Option<Vec<Pattern>> {
    let found = texts(node, path, expected, sink)?;
    each(found, path, sink, |text| match normal_path(text) {
        _ if words.contains(&text) => Ok(Pattern::exact(text)),
        Some(_) if text.contains('*') => {
            Err((format!("{text:?} has a `*`"), Some("a directory covers all below it".into())))
        }
        // `/` is `any`, and has to be written so.
        Some(root) if root == "/" => {
            let help = "write the field as \"any\" if that is meant".to_owned();
            Err(("`/` covers every path".into(), Some(help)))
        }
        Some(root) => Ok(Pattern::prefix(&root)),
        None => Err((format!("{text:?} is not an absolute path without `.`, `..` and `//`"), None)),
    })
}

/// Bytes from hexadecimal text, or zeros from `unset`; of HOST_DATA at a launch also what stands
/// for `initdata`. Chip identifiers of 8 bytes are padded to 64.
pub(crate) fn byte_string(text: &str, kind: Kind) -> Option<Bytes> {
    let len = kind.byte_len()?;
    if kind == Kind::HostData && text == "initdata" {
        return Some(Bytes::INITDATA);
    }
    // Zeros have a word: what the firmware reports for "not set" is then no row of digits that
    // looks like a digest.
    if text == "unset" {
        return Some(Bytes::zero(len));
    }
    let bytes = Bytes::from_hex(text)?;
    pad(bytes.as_slice(), len)
}

/// Bytes of the length of the field; chip identifiers of 8 bytes (Turin and later) are padded to
/// 64.
pub(crate) fn pad(bytes: &[u8], len: u8) -> Option<Bytes> {
    // As reports of Turin have it: 8 bytes, zeros behind.
    if len == 64 && bytes.len() == 8 {
        let mut padded = [0; 64];
        padded.get_mut(..8)?.copy_from_slice(bytes);
        return Bytes::new(&padded);
    }
    (bytes.len() == usize::from(len)).then(|| Bytes::new(bytes))?
}

/// A list of byte strings of this kind.
pub(super) fn byte_strings(
    node: &Node,
    kind: Kind,
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<Vec<Bytes>> {
    let found = texts(node, path, expected, sink)?;
    each(found, path, sink, |text| {
        byte_string(text, kind).ok_or_else(|| {
            let found = super::tree::shorten(text);
            let digits = text.chars().count();
            let wanted = usize::from(kind.byte_len().unwrap_or(0)) * 2;
            let word = if kind == Kind::HostData { ", `unset` or `initdata`" } else { "" };
            (
                format!(
                    "expected {wanted} hexadecimal digits{word}, found {digits} characters: \
                     {found:?}"
                ),
                None,
            )
        })
    })
}

/// A list of names out of `known`, as indices.
pub(super) fn choices(
    node: &Node,
    known: &[&str],
    path: &str,
    expected: &str,
    sink: &mut Sink<'_>,
) -> Option<Vec<u64>> {
    let found = texts(node, path, expected, sink)?;
    each(found, path, sink, |text| {
        index_of(text, known).ok_or_else(|| {
            let help = suggest::help(text, known.iter().copied());
            (format!("expected {expected}, found {text:?} in it"), help)
        })
    })
}

/// The index of a name among the known ones, exactly as it is written.
pub(crate) fn index_of(name: &str, known: &[&str]) -> Option<u64> {
    let at = known.iter().position(|candidate| *candidate == name)?;
    u64::try_from(at).ok()
}
