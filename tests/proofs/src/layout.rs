//! Ranges of the boot code, the check of the host's memory map, and the places of everything that
//! is staged.

use crate::Values;
use casemate_layout::map::{ADDRESS_LIMIT, DEVICE_HOLE, HIGH_START};
use casemate_layout::ports::mark;
use casemate_layout::{MAX_RANGES, MemoryMap, Range, Ranges};

const CORNERS: &[u64] = &[
    0,
    1,
    0xfff,
    0x1000,
    HIGH_START - 0x1000,
    HIGH_START,
    HIGH_START + 0x20_0000,
    DEVICE_HOLE.start - 0x1000,
    DEVICE_HOLE.start,
    DEVICE_HOLE.start + DEVICE_HOLE.size,
    ADDRESS_LIMIT - 0x1000,
    ADDRESS_LIMIT,
    1 << 63,
    u64::MAX - 0xfff,
    u64::MAX,
];

/// For properties of two and more ranges.
const FEW: &[u64] = &[0, 1, 0x1000, HIGH_START, DEVICE_HOLE.start, ADDRESS_LIMIT, u64::MAX];

fn wide(value: u64) -> u128 {
    value.into()
}

fn range(values: &mut dyn Values, corners: &[u64]) -> Range {
    Range { start: values.number(corners), size: values.number(corners) }
}

/// Whether a byte is in it, by definition.
fn has(range: Range, byte: u64) -> bool {
    range.start <= byte && wide(byte) < wide(range.start) + wide(range.size)
}

/// Where ranges of a map begin, and how long they are: such that many of them together are one.
const STARTS: &[u64] = &[
    0,
    1,
    HIGH_START,
    DEVICE_HOLE.start - 0x1000,
    DEVICE_HOLE.start + DEVICE_HOLE.size,
    ADDRESS_LIMIT - 0x1000,
];
const SIZES: &[u64] = &[0, 0x1000, HIGH_START, DEVICE_HOLE.start - 0x1000, u64::MAX - 0xfff];

/// A map of up to three ranges, where it is one.
fn map(values: &mut dyn Values, bits: u8) -> (Vec<Range>, Option<MemoryMap>) {
    let mut ranges = Ranges::default();
    for _ in 0..values.below(4) {
        let range = Range { start: values.number(STARTS), size: values.number(SIZES) };
        assert!(ranges.push(range).is_ok());
    }
    (ranges.as_slice().to_vec(), MemoryMap::new(ranges, bits).ok())
}

super::properties! {
    /// The end of a range is its own or, where 64 bits do not hold it, the last address.
    fn an_end_is_exact_or_the_last_address(values) {
        let range = range(values, CORNERS);
        let end = wide(range.start) + wide(range.size);
        assert_eq!(wide(range.end()), end.min(wide(u64::MAX)));
        assert_eq!(range.checked_end().map(wide), (end <= wide(u64::MAX)).then_some(end));
    }

    /// Two ranges overlap exactly when they share a byte.
    fn overlapping_is_sharing_a_byte(values) {
        let (one, other) = (range(values, CORNERS), range(values, FEW));
        // What ends beyond 64 bits is refused before anything asks whether it overlaps.
        if one.checked_end().is_some() && other.checked_end().is_some() {
            let later = one.start.max(other.start);
            let share = has(one, later) && has(other, later);
            assert_eq!(one.overlaps(other), share);
            assert_eq!(one.overlaps(other), other.overlaps(one));
        }
    }

    /// A range that is split has lost no byte, and no byte is in both parts.
    fn parts_of_a_range_are_the_range(values) {
        let (range, size) = (range(values, CORNERS), values.number(CORNERS));
        let (first, rest) = range.split(size);
        assert_eq!(wide(first.size) + wide(rest.size), wide(range.size));
        assert!(first.start == range.start && !first.overlaps(rest));
        if range.checked_end().is_some() {
            assert_eq!(wide(first.start) + wide(first.size), wide(rest.start));
        }
    }

    /// A range between two addresses has exactly the bytes from one to below the other.
    fn between_is_from_one_to_below_the_other(values) {
        let (start, end) = (values.number(CORNERS), values.number(CORNERS));
        let byte = values.number(CORNERS);
        assert_eq!(has(Range::between(start, end), byte), start <= byte && byte < end);
    }

    /// Aligned are start and size, to any power of two.
    fn aligned_is_start_and_size(values) {
        let range = range(values, CORNERS);
        let unit = 1_u64 << values.below(64);
        assert_eq!(range.is_aligned(unit), range.start % unit == 0 && range.size % unit == 0);
    }

    /// Every map that is accepted is ascending whole pages, disjoint, below the processor's
    /// addresses, outside the device hole, with the first MiB in it.
    fn an_accepted_map_leads_nowhere_else(values) {
        let bits = values.one_of(&[0, 32, 46, 52, 64, 255]);
        let (ranges, map) = map(values, bits);
        let Some(map) = map else { return };
        assert_eq!(map.ram(), ranges);
        let limit = if bits < 64 { (1_u128 << bits).min(wide(ADDRESS_LIMIT)) } else { wide(ADDRESS_LIMIT) };
        let mut end = 0;
        for range in map.ram() {
            assert!(range.size > 0 && range.start % 0x1000 == 0 && range.size % 0x1000 == 0);
            assert!(wide(range.start) >= end);
            end = wide(range.start) + wide(range.size);
            assert!(end <= limit);
            assert!(end <= wide(DEVICE_HOLE.start) || range.start >= DEVICE_HOLE.start + DEVICE_HOLE.size);
        }
        let low = map.ram().iter().any(|range| has(*range, 0) && has(*range, HIGH_START - 1));
        assert!(low);
    }

    /// Every map that is refused breaks one of these rules: no good map is.
    fn a_map_that_breaks_no_rule_is_accepted(values) {
        let (ranges, map) = map(values, 46);
        let mut good = ranges.first().is_some_and(|first| first.start == 0 && first.size >= HIGH_START);
        let mut end = 0;
        for range in &ranges {
            good &= range.size > 0 && range.start % 0x1000 == 0 && range.size % 0x1000 == 0;
            good &= wide(range.start) >= end;
            end = wide(range.start) + wide(range.size);
            good &= end <= wide(ADDRESS_LIMIT);
            good &= end <= wide(DEVICE_HOLE.start) || range.start >= DEVICE_HOLE.start + DEVICE_HOLE.size;
        }
        assert_eq!(map.is_some(), good);
    }

    /// A map reads back as it was written, and what reads as a map has one way to be written.
    fn a_map_has_one_encoding(values) {
        let (_, map) = map(values, 46);
        if let Some(map) = map {
            let bytes = map.encode();
            assert_eq!(MemoryMap::decode(&bytes, 46), Ok(map));
            // One byte changed anywhere: another map, or none.
            let mut other = bytes;
            let at = usize::try_from(values.below(16 + 48)).unwrap_or(0);
            other[at] ^= 1 << values.below(8);
            if let Ok(other_map) = MemoryMap::decode(&other, 46) {
                assert!(other_map != map && other_map.encode() == other);
            }
        }
    }

    /// A map with more ranges than there is room for, or a byte behind them, is none.
    fn a_map_with_bytes_that_mean_nothing_is_refused(values) {
        let mut ranges = Ranges::default();
        assert!(ranges.push(Range { start: 0, size: HIGH_START }).is_ok());
        let Ok(map) = MemoryMap::new(ranges, 46) else { panic!("none") };
        let mut bytes = map.encode();
        if values.flag() {
            let count = u32::try_from(values.number(&[33, 34, 0xffff, u64::from(u32::MAX)]));
            let Ok(count) = count else { return };
            if usize::try_from(count).is_ok_and(|count| count <= MAX_RANGES) {
                return;
            }
            bytes[12..16].copy_from_slice(&count.to_le_bytes());
        } else {
            let behind = 16 + 16;
            let at = behind + usize::try_from(values.below((bytes.len() - behind) as u64)).unwrap_or(0);
            bytes[at] = 1;
        }
        assert!(MemoryMap::decode(&bytes, 46).is_err());
    }

    /// A request for a page marks a step exactly when it is that step's page.
    fn a_step_is_marked_by_its_own_page(values) {
        let step = u8::try_from(values.below(256)).unwrap_or(0);
        let page = mark::page(step);
        let known = (mark::BOOT_CODE..=mark::KERNEL).contains(&step);
        assert_eq!(mark::step_of_page(page), known.then_some(step));
        let offset = values.below(0x1000);
        if offset > 0 {
            assert_eq!(mark::step_of_page(page + offset), None);
        }
    }
}
