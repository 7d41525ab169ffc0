//! The certificate table behind an extended report.
//!
//! The host fills it, so every number in it is hostile: entries lie inside the table and behind the
//! entry list, do not overlap, and no kind appears twice. Source: GHCB specification (AMD 56421),
//! extended guest request.

use super::EvidenceError;

/// Bytes of an entry: 16 of GUID, then offset and length in 32 bits each, little-endian.
const ENTRY: usize = 24;
/// A table larger than this is refused.
const MAX_TABLE: usize = 64 * 1024;
/// More entries than any host writes.
const MAX_ENTRIES: usize = 32;

/// A GUID in the byte order of the table.
pub type Guid = [u8; 16];
/// The chip's endorsement key: 63da758d-e664-4564-adc5-f4b93be8accd (AMD 56421, extended guest
/// request).
pub const VCEK_GUID: Guid = *b"\x63\xda\x75\x8d\xe6\x64\x45\x64\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd";
/// The provider's endorsement key: a8074bc2-a25a-483e-aae6-39c045a0b8a1.
pub const VLEK_GUID: Guid = *b"\xa8\x07\x4b\xc2\xa2\x5a\x48\x3e\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1";

/// AMD's root key of the generation: c0b406a4-a803-4952-9743-3fb6014cd0ae.
pub const ARK_GUID: Guid = *b"\xc0\xb4\x06\xa4\xa8\x03\x49\x52\x97\x43\x3f\xb6\x01\x4c\xd0\xae";
/// AMD's signing key: 4ab7b379-bbac-4fe4-a02f-05aef327c782.
pub const ASK_GUID: Guid = *b"\x4a\xb7\xb3\x79\xbb\xac\x4f\xe4\xa0\x2f\x05\xae\xf3\x27\xc7\x82";

/// A table with these entries, as a host writes it; `None` when it would break a rule.
#[must_use]
pub fn encode(entries: &[(Guid, &[u8])]) -> Option<Vec<u8>> {
    // Contents begin behind the list and the zero entry that ends it, and follow one another
    // without gaps.
    let mut at = entries.len().checked_add(1)?.checked_mul(ENTRY)?;
    let mut table = Vec::new();
    for (guid, contents) in entries {
        table.extend(guid);
        table.extend(u32::try_from(at).ok()?.to_le_bytes());
        table.extend(u32::try_from(contents.len()).ok()?.to_le_bytes());
        at = at.checked_add(contents.len())?;
    }
    table.extend([0; ENTRY]);
    table.extend(entries.iter().flat_map(|(_, contents)| contents.iter()));
    // What is written is held against the same rules as what is read.
    CertTable::parse(&table).is_ok().then_some(table)
}

/// A certificate table whose entries are in bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertTable<'a> {
    entries: Vec<(Guid, &'a [u8])>,
}

impl<'a> CertTable<'a> {
    /// Checks a table. An empty one has no entries.
    ///
    /// # Errors
    /// [`EvidenceError::Table`] with the entry and the rule.
    pub fn parse(table: &'a [u8]) -> Result<Self, EvidenceError> {
        let broken = |entry, rule| EvidenceError::Table { entry, rule };
        if table.len() > MAX_TABLE {
            return Err(broken(0, "the table is larger than 64 KiB"));
        }
        // A host without certificates gives no table at all, and that is no error: the key server
        // has them.
        if table.is_empty() {
            return Ok(Self { entries: Vec::new() });
        }
        let list = entry_list(table)?;
        // `list` ends before the terminator; contents begin behind it.
        let contents_start = list.len().saturating_add(1).saturating_mul(ENTRY);
        // The spans of all entries so far. Comparing each with each is cheap for 32, and needs no
        // order of the entries.
        let mut spans: Vec<(usize, usize)> = Vec::with_capacity(list.len());
        let mut entries: Vec<(Guid, &[u8])> = Vec::with_capacity(list.len());
        for (index, entry) in list.iter().enumerate() {
            let (guid, rest) =
                entry.split_first_chunk::<16>().ok_or(broken(index, "is cut off"))?;
            let (start, end) = span(rest).ok_or(broken(index, "offset and length overflow"))?;
            let bytes = table.get(start..end).ok_or(broken(index, "lies outside the table"))?;
            if start < contents_start {
                return Err(broken(index, "overlaps the entry list"));
            }
            // Half-open ranges overlap when each begins before the other ends; an empty entry
            // overlaps nothing.
            if spans.iter().any(|(other, other_end)| start < *other_end && *other < end) {
                return Err(broken(index, "overlaps another entry"));
            }
            if entries.iter().any(|(other, _)| other == guid) {
                return Err(broken(index, "repeats a GUID"));
            }
            spans.push((start, end));
            entries.push((*guid, bytes));
        }
        Ok(Self { entries })
    }

    /// The bytes of the entry with this GUID, when they are not empty.
    #[must_use]
    pub fn get(&self, guid: Guid) -> Option<&'a [u8]> {
        let found = self.entries.iter().find(|(own, _)| *own == guid);
        found.map(|(_, bytes)| *bytes).filter(|bytes| !bytes.is_empty())
    }

    /// All entries in the order of the list, empty ones too.
    pub fn entries(&self) -> impl Iterator<Item = (Guid, &'a [u8])> {
        self.entries.iter().copied()
    }
}

/// The entries before the one with the zero GUID.
fn entry_list(table: &[u8]) -> Result<&[[u8; ENTRY]], EvidenceError> {
    // The list is read only so far as it may be long; an end beyond that counts as none.
    let (slots, _) = table.as_chunks::<ENTRY>();
    let end = slots
        .iter()
        .take(MAX_ENTRIES.saturating_add(1))
        .position(|slot| slot.iter().take(16).all(|byte| *byte == 0))
        .ok_or(EvidenceError::Table {
            entry: slots.len().min(MAX_ENTRIES),
            rule: "the list has no end",
        })?;
    Ok(slots.split_at(end).0)
}

fn span(rest: &[u8]) -> Option<(usize, usize)> {
    let (offset, rest) = rest.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    let start = usize::try_from(u32::from_le_bytes(*offset)).ok()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    Some((start, start.checked_add(length)?))
}

#[cfg(test)]
mod tests {
    use super::{ASK_GUID, CertTable, VCEK_GUID, VLEK_GUID, encode};

    fn table(entries: &[([u8; 16], u32, u32)], total: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for (guid, offset, length) in entries {
            out.extend(guid);
            out.extend(offset.to_le_bytes());
            out.extend(length.to_le_bytes());
        }
        out.resize(total.max(out.len()), 0);
        out
    }

    fn fault(bytes: &[u8]) -> String {
        CertTable::parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_table_in_bounds_is_read() {
        let mut bytes = table(&[(VLEK_GUID, 48, 3)], 60);
        bytes[48..51].copy_from_slice(b"abc");
        let parsed = CertTable::parse(&bytes).unwrap();
        assert_eq!(parsed.get(VLEK_GUID), Some(&b"abc"[..]));
        assert_eq!(parsed.get(VCEK_GUID), None);
        assert!(CertTable::parse(&[]).unwrap().entries().next().is_none());
        assert!(CertTable::parse(&[0; 64]).unwrap().entries().next().is_none());
    }

    #[test]
    fn what_is_encoded_is_read_back_and_a_kind_given_twice_is_refused() {
        let entries = [(VCEK_GUID, &b"one"[..]), (ASK_GUID, b"two"), (VLEK_GUID, b"")];
        let bytes = encode(&entries).unwrap();
        let parsed = CertTable::parse(&bytes).unwrap();
        assert_eq!(parsed.entries().collect::<Vec<_>>(), entries);
        assert_eq!(encode(&[(ASK_GUID, b"x"), (ASK_GUID, b"y")]), None);
        assert_eq!(encode(&[(ASK_GUID, &[0; super::MAX_TABLE])]), None);
    }

    #[test]
    fn a_table_out_of_bounds_is_refused_with_the_rule() {
        assert!(fault(&table(&[(VCEK_GUID, 64, 256)], 64)).contains("outside"));
        assert!(fault(&table(&[(VCEK_GUID, 0xffff_fff0, 0x20)], 4096)).contains("outside"));
        assert!(fault(&table(&[(VCEK_GUID, 0, 8)], 4096)).contains("entry list"));
        assert!(fault(&table(&[(VCEK_GUID, 47, 8)], 4096)).contains("entry list"));
        assert!(
            fault(&table(&[(VCEK_GUID, 100, 8), (VLEK_GUID, 107, 8)], 4096)).contains("another")
        );
        assert!(
            fault(&table(&[(VCEK_GUID, 100, 8), (VCEK_GUID, 200, 8)], 4096)).contains("repeats")
        );
        assert!(fault(&table(&[(VCEK_GUID, 24, 0)], 24)).contains("no end"));
        assert!(fault(&[0xff; 4096]).contains("no end"));
        assert!(fault(&[1]).contains("no end"));
        assert!(fault(&vec![0; 65 * 1024]).contains("64 KiB"));
    }

    #[test]
    fn many_entries_cannot_name_the_same_bytes_many_times() {
        let entries: Vec<_> = (0u8..30).map(|n| ([n + 1; 16], 1000, 60_000)).collect();
        assert!(fault(&table(&entries, 64 * 1024)).contains("another"));
    }
}
