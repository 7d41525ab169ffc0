//! Guest physical ranges, the map of RAM, and what a guest's number may become.
//!
//! Each property computes with 128 bits what the code computes with 64, where nothing can wrap.

use crate::Values;
use casemate_values::{GpaRange, Guest, HOLE_END, HOLE_START, MAX_GPA, PAGE_SIZE, RamMap};

/// Addresses and sizes where something changes: ends of pages, of the hole, of the address spaces.
const CORNERS: &[u64] = &[
    0,
    1,
    0xfff,
    0x1000,
    0x1001,
    0x2000,
    HOLE_START - 0x1000,
    HOLE_START,
    HOLE_END,
    HOLE_END + 0x1000,
    MAX_GPA - 0xfff,
    MAX_GPA,
    MAX_GPA + 1,
    1 << 63,
    u64::MAX - 0xfff,
    u64::MAX,
];

fn wide(value: u64) -> u128 {
    value.into()
}

/// A range, where the values make one.
fn range(values: &mut dyn Values) -> Option<GpaRange> {
    GpaRange::new(values.number(CORNERS), values.number(CORNERS)).ok()
}

/// Whether a byte is in it, by definition.
fn has(range: GpaRange, byte: u64) -> bool {
    wide(range.start()) <= wide(byte) && wide(byte) < wide(range.start()) + wide(range.size())
}

super::properties! {
    /// A range exists exactly when it is whole pages, not empty, and ends within 64 bits.
    fn a_range_is_whole_pages_that_do_not_wrap(values) {
        let (start, size) = (values.number(CORNERS), values.number(CORNERS));
        let legal = start % PAGE_SIZE == 0
            && size % PAGE_SIZE == 0
            && size > 0
            && wide(start) + wide(size) <= wide(u64::MAX);
        assert_eq!(GpaRange::new(start, size).is_ok(), legal);
    }

    /// The end of a range and its number of pages are those of its bytes.
    fn the_end_of_a_range_is_behind_its_last_byte(values) {
        if let Some(range) = range(values) {
            assert_eq!(wide(range.end()), wide(range.start()) + wide(range.size()));
            assert_eq!(wide(range.pages()) * wide(PAGE_SIZE), wide(range.size()));
        }
    }

    /// One range contains another exactly when no byte of the other is outside.
    fn containing_is_having_every_byte(values) {
        if let (Some(outer), Some(inner)) = (range(values), range(values)) {
            let both = has(outer, inner.start()) && has(outer, inner.end() - 1);
            assert_eq!(outer.contains(inner), both);
        }
    }

    /// The part that two ranges share has exactly the bytes that both have.
    fn an_intersection_has_the_bytes_of_both(values) {
        if let (Some(one), Some(other)) = (range(values), range(values)) {
            let byte = values.number(CORNERS);
            let shared = one.intersection(other).is_some_and(|part| has(part, byte));
            assert_eq!(shared, has(one, byte) && has(other, byte));
            assert_eq!(one.intersection(other), other.intersection(one));
        }
    }

    /// A range that a guest names is within what an address space has, whatever the guest says.
    fn a_guests_range_is_within_52_bits_of_pages(values) {
        let (gpa, pages) = (values.number(CORNERS), values.number(CORNERS));
        let range = GpaRange::from_guest(Guest::new(gpa), Guest::new(pages));
        if let Ok(range) = range {
            assert!(range.start() == gpa && wide(range.size()) == wide(pages) * wide(PAGE_SIZE));
            assert!(gpa <= MAX_GPA && pages <= 1 << 40);
        } else {
            let legal = gpa % PAGE_SIZE == 0 && gpa <= MAX_GPA && pages > 0 && pages <= 1 << 40;
            assert!(!legal);
        }
    }

    /// RAM of any size is as many bytes as were asked for, none of them in the hole.
    fn ram_has_its_size_and_leaves_the_hole_alone(values) {
        let bytes = values.number(CORNERS);
        if let Ok(map) = RamMap::new(bytes) {
            assert_eq!(map.size(), bytes);
            for range in map.ranges() {
                assert!(range.end() <= HOLE_START || range.start() >= HOLE_END);
            }
        }
    }

    /// The map covers a range exactly when each of its bytes is RAM: none across the hole.
    fn covered_is_ram_from_the_first_byte_to_the_last(values) {
        if let (Ok(map), Some(range)) = (RamMap::new(values.number(CORNERS)), range(values)) {
            let ram = |byte| map.ranges().iter().any(|part| has(*part, byte));
            // Across the hole the middle is missing: the hole's first byte is the witness.
            let hole = has(range, HOLE_START);
            let whole = ram(range.start()) && ram(range.end() - 1) && !hole;
            assert_eq!(map.covers(range), whole);
        }
    }

    /// A guest's number becomes one of ours exactly when it is at most what is allowed.
    fn a_guests_number_is_at_most_its_limit(values) {
        let (value, most) = (values.number(CORNERS), values.number(CORNERS));
        let number = Guest::new(value).at_most(most, "the limit");
        assert_eq!(number.ok(), (value <= most).then_some(value));
    }

    /// An access has an offset in a window exactly when its first and its last byte are there.
    fn an_offset_is_of_an_access_that_is_wholly_inside(values) {
        let (at, base) = (values.number(CORNERS), values.number(CORNERS));
        let (size, len) = (values.number(CORNERS), values.number(CORNERS));
        let inside = wide(base) <= wide(at)
            && wide(at) + wide(len) <= wide(base) + wide(size);
        let offset = Guest::new(at).offset_in(base, size, len);
        assert_eq!(offset, inside.then(|| at - base));
    }

    /// What a guest's number is asked about its bits is what its bits are.
    fn questions_about_bits_are_about_those_bits(values) {
        let (value, mask) = (values.number(CORNERS), values.number(CORNERS));
        let guest = Guest::new(value);
        assert_eq!(guest.has(mask), (0..64).any(|bit| value >> bit & mask >> bit & 1 == 1));
        assert_eq!(guest.has_only(mask), value | mask == mask);
        assert!(guest.is_under(mask, value & mask));
        for index in 0..9_u32 {
            let byte = value.checked_shr(8 * index).unwrap_or(0) & 0xff;
            assert_eq!(u64::from(guest.byte(index as usize)), byte);
        }
    }
}
