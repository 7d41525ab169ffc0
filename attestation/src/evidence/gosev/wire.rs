//! The binary form of a protocol-buffer message: tags, and what each wire type holds.
//!
//! Every length lies inside its message, and messages are looked into two deep, so the work is that
//! of reading the bytes twice. Source: protobuf.dev, "Encoding".

use super::{MAX_FIELDS, Schema, Value};

/// The fields of a message; none when the bytes are not one, so that they may be evidence of
/// another form.
pub(super) fn fields(bytes: &[u8], schema: Schema) -> Option<Vec<(u32, Value)>> {
    let mut rest = bytes;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (tag, after) = varint(rest)?;
        // Field 0 is not allowed ("Message Structure"), and numbers have 29 bits on the wire; here
        // 32 are room enough for any that is compared.
        let field = u32::try_from(tag >> 3).ok().filter(|field| *field != 0)?;
        let (value, after) = match tag & 7 {
            0 => varint(after).map(|(number, after)| (Value::Number(number), after))?,
            1 => fixed::<8>(after)?,
            2 => {
                let (length, after) = varint(after)?;
                let (inside, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
                let value = match schema.inside(field) {
                    Some(schema) => Value::Message(fields(inside, schema)?),
                    None => Value::Bytes(inside.to_vec()),
                };
                (value, after)
            }
            5 => fixed::<4>(after)?,
            // Groups have not been written since 2008.
            _ => return None,
        };
        // The bound is on fields, not bytes: one field takes as little as two bytes and far more
        // memory.
        if found.len() == MAX_FIELDS {
            return None;
        }
        found.push((field, value));
        rest = after;
    }
    Some(found)
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // Ten groups of seven bits hold 64; a number that has not ended by then is none. Longer forms
    // of a small number are allowed, as the format allows them.
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let shift = u32::try_from(index).ok()?.checked_mul(7)?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index.checked_add(1)?..)?));
        }
    }
    None
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<N>()?;
    // Little-endian ("Non-varint Numbers").
    let value = number.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some((Value::Number(value), rest))
}
