//! The lengths of a DER object, checked before it is decoded.
//!
//! Crate `der` makes room for as many bytes as an OCTET STRING says it has, up to 256 MiB, before
//! it looks whether they are there. With every length inside what it lies in, no more than the
//! input is ever made room for.

/// Deeper than any certificate or revocation list of this hierarchy.
const MAX_DEPTH: u8 = 16;

/// Whether every length fits, down to the primitive values.
pub(super) fn fit(bytes: &[u8]) -> bool {
    fit_below(bytes, MAX_DEPTH)
}

fn fit_below(bytes: &[u8], depth: u8) -> bool {
    // Bit 6 of the identifier octet (X.690, 8.1.2.5): the contents are objects themselves.
    const CONSTRUCTED: u8 = 0x20;
    let mut rest = bytes;
    while let Some((tag, behind)) = rest.split_first() {
        let Some((contents, after)) = contents(*tag, behind) else { return false };
        // Depth is counted down, and by one more recursion only inside a constructed object, so the
        // stack is bounded by `MAX_DEPTH` whatever the bytes are.
        if tag & CONSTRUCTED != 0
            && !depth.checked_sub(1).is_some_and(|depth| fit_below(contents, depth))
        {
            return false;
        }
        rest = after;
    }
    true
}

/// Bytes of the object that `bytes` begin with, its tag and length included.
pub(super) fn first_object(bytes: &[u8]) -> Option<usize> {
    let (tag, behind) = bytes.split_first()?;
    let (_, after) = contents(*tag, behind)?;
    bytes.len().checked_sub(after.len())
}

/// Splits what follows a tag into its contents and what comes after them; none for a length that
/// does not fit, of more than four bytes, or without an end, and for tags of more than one byte.
fn contents(tag: u8, behind: &[u8]) -> Option<(&[u8], &[u8])> {
    // Tag numbers from 31 on take more bytes (X.690, 8.1.2.4). No certificate has one.
    const MANY_BYTES: u8 = 0x1f;
    if tag & MANY_BYTES == MANY_BYTES {
        return None;
    }
    let (first, rest) = behind.split_first()?;
    // X.690, 8.1.3: a length below 128 is one byte; else the byte gives how many follow. 0x80, a
    // length without an end, is BER and no DER. A length in more bytes than it needs passes here:
    // the decoder refuses it afterwards.
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn a_length_that_does_not_fit_is_found_at_any_depth() {
        assert!(fit(&[]));
        assert!(fit(&[0x30, 5, 0x04, 3, 1, 2, 3]));
        assert!(fit(&[0x04, 0x81, 1, 9, 0x05, 0]), "one after the other");
        for bad in [
            &[0x04u8][..],
            &[0x04, 1],
            &[0x04, 0x84, 0x0f, 0xff, 0xff, 0xff],
            &[0x30, 4, 0x04, 3, 1, 2],
            &[0x30, 5, 0x04, 4, 1, 2, 3],
            &[0x30, 0x80, 0, 0],
            &[0x04, 0x85, 0, 0, 0, 0, 0],
            &[0x1f, 0x81, 0x01, 0],
        ] {
            assert!(!fit(bad), "{bad:02x?}");
        }
        assert!(!fit(&[0x30, 0x80].repeat(1000)));
        let deep = (0..100u8).fold(vec![0x05, 0], |inside, _| {
            [&[0x30, u8::try_from(inside.len().min(0x7f)).unwrap()][..], &inside].concat()
        });
        assert!(!fit(&deep), "deeper than any certificate");
    }
}
