//! The host's memory map and the places that follow from it: every wrong map is refused with its
//! own code, and what the rule gives never lies over anything that is in use. They cannot tell
//! whether the boot code reads the map once.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use casemate_layout::{
    MAP_BYTES, MAX_RANGES, MapError, MemoryMap, Mode, Params, Place, Places, Range, Ranges,
    Termination, map,
};
use common::{GIB, MIB, blob, params, ram};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

const BITS: u8 = 48;

fn ranges(list: Claim<'_>) -> Ranges<MAX_RANGES> {
    let mut ranges = Ranges::default();
    for (start, size) in list {
        ranges.push(Range { start: *start, size: *size }).unwrap();
    }
    ranges
}

#[test]
fn a_map_survives_a_round_trip() {
    for size in [64 * MIB, 3 * GIB, 64 * GIB] {
        let map = MemoryMap::new(ram(size), BITS).unwrap();
        assert_eq!(MemoryMap::decode(&map.encode(), BITS), Ok(map));
    }
    let most: Vec<_> = (0..32).map(|index| (index * 4 * MIB, 2 * MIB)).collect();
    let map = MemoryMap::new(ranges(&most), BITS).unwrap();
    assert_eq!(MemoryMap::decode(&map.encode(), BITS), Ok(map));
}

/// What a host may claim: start and size of each range.
type Claim<'a> = &'a [(u64, u64)];

#[test]
fn each_wrong_map_is_refused_with_its_own_code() {
    let low = (0, 64 * MIB);
    let cases: &[(&str, Claim<'_>, MapError)] = &[
        ("no RAM", &[], MapError::Low),
        ("part of a page at the end", &[low, (4 * GIB, 0x1001)], MapError::Pages),
        ("part of a page at the start", &[low, (4 * GIB + 8, 0x1000)], MapError::Pages),
        ("empty", &[low, (4 * GIB, 0)], MapError::Pages),
        ("unsorted", &[(4 * GIB, MIB), low], MapError::Order),
        ("twice", &[low, low], MapError::Order),
        ("overlapping by a page", &[low, (64 * MIB - 0x1000, MIB)], MapError::Order),
        ("one inside another", &[(0, 2 * GIB), (GIB, MIB)], MapError::Order),
        ("wraps", &[low, (u64::MAX - 0xfff, 0x1000)], MapError::Address),
        ("wraps far", &[low, (4 * GIB, u64::MAX - 0xfff)], MapError::Address),
        ("above 46 bits", &[low, (1 << 46, 0x1000)], MapError::Address),
        ("across 46 bits", &[low, ((1 << 46) - 0x1000, 0x2000)], MapError::Address),
        ("where the C-bit is", &[low, (1 << 51, 0x1000)], MapError::Address),
        ("into the hole", &[(0, 3 * GIB + 0x1000)], MapError::Devices),
        ("over the hole", &[(0, 8 * GIB)], MapError::Devices),
        ("ECAM", &[low, (map::ECAM.start, 0x1000)], MapError::Devices),
        ("IOAPIC", &[low, (map::IOAPIC.start, 0x1000)], MapError::Devices),
        ("local APIC", &[low, (map::LOCAL_APIC.start, 0x1000)], MapError::Devices),
        ("last page below 4 GiB", &[low, (4 * GIB - 0x1000, 0x1000)], MapError::Devices),
        ("launched pages outside", &[(MIB, 64 * MIB)], MapError::Low),
        ("boot code outside", &[(0, 0x1_0000), (MIB, 64 * MIB)], MapError::Low),
        ("a hole in the first MiB", &[(0, 0xa_0000), (0xa_1000, 64 * MIB)], MapError::Low),
    ];
    for (name, list, error) in cases {
        assert_eq!(MemoryMap::new(ranges(list), BITS), Err(*error), "{name}");
        let mut bytes = MemoryMap::new(ram(64 * MIB), BITS).unwrap().encode();
        bytes[12] = u8::try_from(list.len()).unwrap();
        bytes[16..].fill(0);
        for (at, number) in list.iter().flat_map(|(start, size)| [start, size]).enumerate() {
            bytes[16 + at * 8..][..8].copy_from_slice(&number.to_le_bytes());
        }
        assert_eq!(MemoryMap::decode(&bytes, BITS), Err(*error), "{name}, as bytes");
    }
}

#[test]
fn a_map_of_another_form_is_refused() {
    let good = MemoryMap::new(ram(64 * MIB), BITS).unwrap().encode();
    for (name, at, value) in [
        ("magic", 0, 0),
        ("version", 8, 2),
        ("count of 33", 12, 33),
        ("count of 2^31", 15, 0x80),
        ("a range behind the last", 32 + 16 * 4, 1),
        ("the last byte", MAP_BYTES - 1, 1),
    ] {
        let mut bytes = good;
        bytes[at] = value;
        assert_eq!(MemoryMap::decode(&bytes, BITS), Err(MapError::Form), "{name}");
    }
    assert_eq!(MemoryMap::decode(&[0; MAP_BYTES], BITS), Err(MapError::Form));
}

#[test]
fn ram_above_the_processors_own_addresses_is_refused() {
    let edge = ranges(&[(0, 64 * MIB), ((1 << 40) - MIB, MIB)]);
    assert!(MemoryMap::new(edge, 40).is_ok());
    assert_eq!(MemoryMap::new(edge, 39), Err(MapError::Address));
    // What no processor says neither overflows nor lets more pass than 46 bits.
    for bits in [0, 64, 255] {
        let high = ranges(&[(0, 64 * MIB), (1 << 46, MIB)]);
        assert_eq!(MemoryMap::new(high, bits), Err(MapError::Address), "{bits} bits");
    }
}

#[test]
fn every_refusal_of_a_map_has_a_code_of_its_own() {
    use MapError::{Address, Devices, Form, Low, Order, Pages, TooSmall};
    let all = [Form, Pages, Order, Address, Devices, Low, TooSmall];
    let codes: std::collections::BTreeSet<u8> =
        all.iter().map(|error| error.termination().code()).collect();
    assert_eq!(codes.len(), all.len());
    assert!(!codes.contains(&Termination::ParamsBlob.code()));
}

/// Parts of the places by name, as whole pages.
fn parts(params: &Params, places: &Places) -> Vec<(&'static str, Range)> {
    let whole = |place: &Place| Range {
        start: place.target.start,
        size: place.target.size.next_multiple_of(map::PAGE_SIZE),
    };
    vec![
        ("window", places.window),
        ("kernel's memory", params.kernel_memory),
        ("kernel file", whole(&places.kernel)),
        ("initrd", whole(&places.initrd)),
        ("command line", whole(&places.cmdline)),
        ("ACPI tables", whole(&places.acpi)),
    ]
}

/// What the boot code relies on, whatever the map.
fn assert_right(params: &Params, ram: &[Range], places: &Places) {
    let parts = parts(params, places);
    for (index, (name, part)) in parts.iter().enumerate() {
        assert!(part.size == 0 || ram.iter().any(|range| range.contains(*part)), "{name}: no RAM");
        for own in map::launched(Mode::Snp).iter().chain(&[map::SCRATCH, map::VIDEO]) {
            assert!(!part.overlaps(*own), "{name} over {own:?}");
        }
        for (other, range) in &parts[..index] {
            assert!(!part.overlaps(*range), "{name} {part:?} over {other} {range:?}");
        }
    }
    let mut next = places.window.start;
    for (place, blob) in [
        (&places.kernel, &params.kernel),
        (&places.initrd, &params.initrd),
        (&places.cmdline, &params.cmdline),
        (&places.acpi, &params.acpi),
    ] {
        assert_eq!((place.staged.size, place.target.size), (blob.size, blob.size));
        if blob.is_present() {
            assert_eq!(place.staged.start, next);
            next = (place.staged.end()).next_multiple_of(map::PAGE_SIZE);
        }
    }
    assert!(next <= places.window.end());
    assert!(places.initrd.target.end() <= params.initrd_limit.max(places.initrd.target.size));
}

#[test]
fn the_initrd_is_low_where_it_fits_and_else_above_4_gib_if_the_kernel_takes_it_there() {
    let place = |size: u64, limit: u64, memory: u64| {
        let params = Params { initrd: blob(size), initrd_limit: limit, ..params(Mode::Snp) };
        let places = params.places(ram(memory).as_slice());
        if let Ok(places) = &places {
            assert_right(&params, ram(memory).as_slice(), places);
        }
        places.map(|places| places.initrd.target)
    };
    let two = 2 * GIB;
    // Staging is above 4 GiB, so low RAM has room for what staging would have taken.
    assert_eq!(place(1900 * MIB, two, 8 * GIB).map(Range::end), Ok(two));
    assert_eq!(place(2200 * MIB, two, 8 * GIB), Err(MapError::TooSmall), "the kernel's limit");
    assert_eq!(place(2200 * MIB, 1 << 46, 8 * GIB).map(Range::end), Ok(3 * GIB));
    let high = place(3 * GIB, 1 << 46, 16 * GIB).unwrap();
    assert!(high.start >= 4 * GIB);
    // As before where all is below 3 GiB.
    let small = params(Mode::Snp).places(ram(256 * MIB).as_slice()).unwrap();
    assert_eq!(small.window, Range { start: 234 * MIB, size: 22 * MIB });
    assert_eq!(small.initrd.target.start, small.window.start - 9 * MIB - 0x1000);
}

#[test]
fn too_little_memory_is_an_error_of_its_own() {
    let params = params(Mode::Snp);
    let fits = |mib: u64| params.places(ram(mib * MIB).as_slice());
    let least = (1..512).find(|mib| fits(*mib).is_ok()).unwrap();
    // Kernel's memory to 56 MiB, file to 68, initrd 9, window 22 and alignment.
    assert!((99..=104).contains(&least), "{least} MiB");
    for mib in [1, 16, 40, least - 1] {
        assert_eq!(fits(mib), Err(MapError::TooSmall), "{mib} MiB");
    }
    assert_eq!(params.places(&[]), Err(MapError::TooSmall));
}

fn size() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1_u64..0x3000, 1_u64..64 * MIB, 1_u64..6 * GIB, any::<u64>()]
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

    /// Sums of sizes neither overflow nor end up over something.
    #[test]
    fn whatever_the_sizes_and_the_map_places_are_apart_or_there_are_none(
        kernel in 1_u64..200 * MIB, initrd in size(), cmdline in 0_u64..2048, acpi in 36_u64..0x2_0000,
        at in 256_u64..0xc_0000, pages in 1_u64..0x1_0000,
        limit in prop_oneof![Just(1_u64 << 31), Just(1 << 46), 0_u64..1 << 46],
        list in proptest::collection::vec((0_u64..1 << 34, 0_u64..1 << 22), 0..6),
        first in 256_u64..0xc_0000,
    ) {
        let params = Params {
            rsdp: map::ACPI.start,
            kernel_memory: Range { start: at * 0x1000, size: pages * 0x1000 },
            initrd_limit: limit,
            kernel: blob(kernel),
            initrd: if initrd == 0 { casemate_layout::Blob::default() } else { blob(initrd) },
            cmdline: if cmdline == 0 { casemate_layout::Blob::default() } else { blob(cmdline) },
            acpi: blob(acpi),
            ..params(Mode::Snp)
        };
        if params.check().is_err() {
            return Ok(());
        }
        let mut all = vec![(0, first * 0x1000)];
        let mut list: Vec<_> = list.into_iter().map(|(at, n)| (at * 0x1000, n * 0x1000)).collect();
        list.sort_unstable();
        all.extend(list);
        // Maps that are refused say nothing; of random ones enough are not.
        let Ok(map) = MemoryMap::new(ranges(&all), BITS) else { return Ok(()) };
        if let Ok(places) = params.places(map.ram()) {
            assert_right(&params, map.ram(), &places);
        }
    }

    #[test]
    fn what_decodes_is_canonical_and_right(
        edits in proptest::collection::vec((0_usize..80, any::<u8>()), 0..8), bits: u8,
    ) {
        let mut bytes = MemoryMap::new(ram(5 * GIB), BITS).unwrap().encode();
        for (at, value) in edits {
            bytes[at] = value;
        }
        if let Ok(map) = MemoryMap::decode(&bytes, bits) {
            prop_assert_eq!(map.encode(), bytes);
            let first = Range { start: 0, size: MIB };
            prop_assert!(map.ram()[0].contains(first));
            for range in map.ram() {
                prop_assert!(!range.overlaps(map::DEVICE_HOLE) && range.end() <= map::ADDRESS_LIMIT);
            }
        }
    }
}
