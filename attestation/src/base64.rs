//! Base64 as people and programs write it.

use base64ct::{Base64, Base64Unpadded, Base64Url, Base64UrlUnpadded, Encoding};

/// Decodes any of the four usual alphabets, the padded ones first; broken into lines or not.
#[must_use]
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    // One of them at most decodes a text with `+`, `/`, `-` or `_` in it, and without these
    // characters all give the same bytes. Padding tells the padded ones from the others; they come
    // first because most programs write them.
    Base64::decode_vec(&text)
        .or_else(|_| Base64Url::decode_vec(&text))
        .or_else(|_| Base64Unpadded::decode_vec(&text))
        .or_else(|_| Base64UrlUnpadded::decode_vec(&text))
        .ok()
}
