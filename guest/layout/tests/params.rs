//! Parameters: the codec is canonical, and the check refuses what would make the boot code do harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use casemate_layout::{Blob, Mode, Params, ParamsError, Range, Termination, map};
use common::{MIB, params};
use proptest::prelude::{any, prop_assert_eq, proptest};

#[test]
fn both_modes_survive_a_round_trip() {
    for mode in [Mode::Plain, Mode::Snp] {
        let params = params(mode);
        assert_eq!(Params::decode(&params.encode()), Ok(params));
    }
}

#[test]
fn the_mode_is_where_code_without_a_stack_looks_for_it() {
    let page = params(Mode::Snp).encode();
    assert_eq!(page[Params::MODE_OFFSET..][..4], (Mode::Snp as u32).to_le_bytes());
}

#[test]
fn every_bit_of_the_page_means_something_or_is_refused() {
    let page = params(Mode::Snp).encode();
    for bit in 0..page.len() * 8 {
        let mut other = page;
        other[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = Params::decode(&other) {
            assert_ne!(decoded, params(Mode::Snp), "bit {bit}");
        }
    }
}

/// A change to good parameters, and how it has to be refused.
type Case = (&'static str, fn(&mut Params), Termination);

const CASES: &[Case] = &[
    ("plain with C-bit", |p| p.mode = Mode::Plain, Termination::ParamsMalformed),
    ("low C-bit", |p| p.c_bit = 12, Termination::ParamsMalformed),
    ("C-bit beyond a page table's", |p| p.c_bit = 52, Termination::ParamsMalformed),
    ("kernel without memory", |p| p.kernel_memory.size = 0, Termination::ParamsKernel),
    ("part of a page", |p| p.kernel_memory.size += 1, Termination::ParamsKernel),
    (
        "kernel over the boot code",
        |p| p.kernel_memory.start = map::BOOT_CODE.start,
        Termination::ParamsKernel,
    ),
    (
        "kernel below 1 MiB by a page",
        |p| p.kernel_memory.start = MIB - 0x1000,
        Termination::ParamsKernel,
    ),
    ("kernel in the hole", |p| p.kernel_memory.size = 3 << 30, Termination::ParamsKernel),
    ("kernel wraps", |p| p.kernel_memory.size = u64::MAX - 0xfff, Termination::ParamsKernel),
    ("initrd anywhere", |p| p.initrd_limit = u64::MAX, Termination::ParamsKernel),
    ("kernel absent", |p| p.kernel = Blob::default(), Termination::ParamsBlob),
    ("kernel endless", |p| p.kernel.size = u64::MAX, Termination::ParamsBlob),
    ("initrd endless", |p| p.initrd.size = u64::MAX - 1, Termination::ParamsBlob),
    ("long command line", |p| p.cmdline.size = 2048, Termination::ParamsBlob),
    ("tables too long", |p| p.acpi.size = map::ACPI.size + 1, Termination::ParamsBlob),
    ("RSDP outside tables", |p| p.rsdp += 0x900, Termination::ParamsBlob),
    ("hash of nothing", |p| p.initrd.size = 0, Termination::ParamsBlob),
];

#[test]
fn what_would_lead_the_boot_code_astray_is_refused_with_its_own_code() {
    for (name, change, termination) in CASES {
        let mut bad = params(Mode::Snp);
        change(&mut bad);
        let error = Params::decode(&bad.encode()).expect_err(name);
        assert_eq!(error.termination(), *termination, "{name}: {error}");
        assert_eq!(bad.check().expect_err(name), error, "{name}: check differs from decode");
    }
}

#[test]
fn a_page_of_another_kind_or_version_is_named_so() {
    assert_eq!(Params::decode(&[0; 4096]), Err(ParamsError::Magic));
    let mut page = params(Mode::Plain).encode();
    page[8] = 9;
    assert_eq!(Params::decode(&page), Err(ParamsError::Version(9)));
}

#[test]
fn codes_are_told_apart_and_have_a_sentence() {
    for termination in Termination::ALL {
        assert_eq!(Termination::from_code(termination.code()), Some(*termination));
        assert!(termination.sentence().len() > 20);
    }
    assert_eq!(Termination::from_code(0), None);
}

#[test]
fn low_memory_has_no_overlaps_and_a_launch_stays_within_its_page_budget() {
    use map::{
        ACPI, BIOS_DATA, BOOT_CODE, BOOT_TABLE, CC_BLOB, CMDLINE, CPUID, LEGACY, PARAMS, SCRATCH,
        SECRETS, ZERO_PAGE,
    };
    let parts = [
        BIOS_DATA, BOOT_TABLE, PARAMS, CPUID, SECRETS, CC_BLOB, ZERO_PAGE, CMDLINE, BOOT_CODE,
        SCRATCH, ACPI, LEGACY,
    ];
    for pair in parts.windows(2) {
        assert!(pair[0].end() <= pair[1].start, "{pair:?}");
    }
    for mode in [Mode::Plain, Mode::Snp] {
        assert!(map::launched(mode).windows(2).all(|pair| pair[0].end() <= pair[1].start));
    }
    let bytes: u64 = map::launched(Mode::Snp).iter().map(|part| part.size).sum();
    let with_vmsa = usize::try_from(bytes / map::PAGE_SIZE).unwrap() + 1;
    assert!(with_vmsa <= map::PAGE_BUDGET, "{with_vmsa} pages");
}

/// Nothing that is used may be where nobody accepts pages, and everything that must not be accepted
/// is there.
#[test]
fn what_is_never_accepted_is_apart_from_all_that_is_used() {
    for part in map::launched(Mode::Snp).iter().chain(&[
        map::BIOS_DATA,
        map::SCRATCH,
        map::ACPI,
        map::RESET_VECTOR,
        map::ZERO_PAGE,
    ]) {
        assert!(!part.overlaps(map::VIDEO), "{part:?}");
    }
    assert!(map::VIDEO.contains(map::HOST_MAP) && map::VIDEO.contains(map::PARKED));
    assert!(!map::HOST_MAP.overlaps(map::PARKED) && map::LEGACY.contains(map::VIDEO));
}

/// What the first page table translates `address` to, as a processor walks its four levels.
fn walk(table: &[u8], address: u64) -> Option<u64> {
    let at = |index: u64| {
        let at = usize::try_from(index % 512 * 8).unwrap();
        u64::from_le_bytes(table[at..at + 8].try_into().unwrap())
    };
    let addresses = ((1 << 40) - 1) & !0xfff;
    for shift in [39, 30, 21] {
        let entry = at(address >> shift);
        // A table that is not the first one is another launched page, or none.
        if entry & 1 == 0 || entry & addresses != map::BOOT_TABLE.start {
            return None;
        }
        assert_eq!(entry & 1 << 7, 0, "a large page");
    }
    let leaf = at(address >> 12);
    (leaf & 1 != 0).then_some(leaf & !0xfff | address & 0xfff)
}

#[test]
fn the_first_page_table_maps_low_memory_private_the_host_map_shared_and_nothing_else_below_2_mib() {
    let c = 1_u64 << 47;
    let table = casemate_layout::paging::boot_table(47);
    for page in (0x1000..2 * MIB).step_by(0x1000) {
        let expected = match page {
            _ if page < map::SCRATCH.end() => Some(page | c),
            _ if page == map::HOST_MAP.start => Some(page),
            _ => None,
        };
        assert_eq!(walk(&table, page), expected, "{page:#x}");
    }
    for launched in map::launched(Mode::Snp) {
        assert_eq!(walk(&table, launched.end() - 1), Some((launched.end() - 1) | c));
    }
    assert_eq!(walk(&table, map::SCRATCH.end() - 8), Some((map::SCRATCH.end() - 8) | c), "stack");
    assert_eq!(walk(&casemate_layout::paging::boot_table(0), 0x1_0000), Some(0x1_0000), "plain");
}

/// The measured code has no dependencies; these are what the field's crate says.
#[test]
fn page_table_bits_are_those_of_crate_x86_64() {
    use casemate_layout::paging::{ENTRIES, LARGE, PRESENT, WRITABLE};
    use x86_64::structures::paging::{PageSize, PageTable, PageTableFlags, Size2MiB, Size4KiB};
    assert_eq!(PRESENT, PageTableFlags::PRESENT.bits());
    assert_eq!(WRITABLE, PageTableFlags::WRITABLE.bits());
    assert_eq!(LARGE, PageTableFlags::HUGE_PAGE.bits());
    assert_eq!((map::PAGE_SIZE, map::LARGE_PAGE_SIZE), (Size4KiB::SIZE, Size2MiB::SIZE));
    assert_eq!(ENTRIES, PageTable::new().iter().count());
}

#[test]
fn ranges_split_into_what_they_were() {
    let range = Range { start: 0x1000, size: 0x3000 };
    for size in [0, 1, 0x1000, 0x3000, 0x3001, u64::MAX] {
        let (first, rest) = range.split(size);
        assert_eq!((first.start, first.size + rest.size, rest.end()), (0x1000, 0x3000, 0x4000));
        assert!(first.size <= size);
    }
    let last = Range { start: u64::MAX - 1, size: u64::MAX };
    assert_eq!(last.split(u64::MAX).1.size, 0);
    assert_eq!(Range::between(5, 3).size, 0);
}

proptest! {
    #[test]
    fn no_page_makes_decoding_panic_and_what_decodes_is_canonical(
        edits in proptest::collection::vec((0_usize..0x120, any::<u8>()), 0..12), snp: bool,
    ) {
        let mut page = params(if snp { Mode::Snp } else { Mode::Plain }).encode();
        for (at, value) in edits {
            page[at] = value;
        }
        if let Ok(decoded) = Params::decode(&page) {
            prop_assert_eq!(decoded.encode(), page);
        }
    }
}
