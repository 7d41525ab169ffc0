//! As much DER as a broker's own certificate takes (X.690): definite lengths, one tag byte.

/// Tag of an INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// Tag of a BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// Tag of an OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// Tag of an OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;
/// Tag of a `UTF8String`.
pub(crate) const UTF8: u8 = 0x0c;
/// Tag of a `GeneralizedTime`.
pub(crate) const TIME: u8 = 0x18;
/// Tag of a SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// Tag of a SET.
pub(crate) const SET: u8 = 0x31;

/// An element with these contents, one behind the other.
pub(crate) fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short @ 0..=0x7f) => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(0);
            let bytes = bytes.get(start..).unwrap_or_default();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or(0));
            out.extend_from_slice(bytes);
        }
    }
    contents.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// Takes an element of this tag off the front: all of it, and its contents.
pub(crate) fn take<'a>(from: &mut &'a [u8], tag: u8) -> Option<(&'a [u8], &'a [u8])> {
    let [found, first, ..] = *from else { return None };
    if *found != tag {
        return None;
    }
    let (header, length) = match *first {
        short @ 0..=0x7f => (2, usize::from(short)),
        long => {
            // Four bytes of a length are more than any file that is read here has.
            let count = usize::from(long & 0x7f);
            if !(1..=4).contains(&count) {
                return None;
            }
            let bytes = from.get(2..2 + count)?;
            let length = bytes.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            (2 + count, length)
        }
    };
    let (element, rest) = from.split_at_checked(header.checked_add(length)?)?;
    *from = rest;
    Some((element, element.get(header..)?))
}
