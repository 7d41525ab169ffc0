//! Parameters: the codec is canonical, and the check refuses what would make the boot code do harm.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_layout::{
    Blob, Flags, KernelKind, Mode, Params, ParamsError, Range, Termination, map, ports,
};
use proptest::prelude::{any, prop_assert_eq, proptest};

const MIB: u64 = 1 << 20;

fn blob(staged: u64, size: u64, destination: u64) -> Blob {
    Blob { staged: Range { start: staged, size }, destination, sha256: [7; 32] }
}

fn params(mode: Mode) -> Params {
    let mut params = Params {
        mode,
        flags: Flags { sha_extensions: true, reclaim_staging: true },
        c_bit: if mode == Mode::Snp { 51 } else { 0 },
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp: map::ACPI.start + 0x40,
        ram: casemate_layout::Ranges::default(),
        launched: casemate_layout::Ranges::default(),
        staging: Range { start: 128 * MIB, size: 64 * MIB },
        kernel_kind: KernelKind::BzImage,
        kernel: blob(128 * MIB, 12 * MIB + 5, 16 * MIB - 0x4000),
        initrd: blob(144 * MIB, 9 * MIB + 1, 96 * MIB),
        cmdline: blob(160 * MIB, 21, map::CMDLINE.start),
        acpi: blob(161 * MIB, 0x900, map::ACPI.start),
    };
    params.ram.push(Range { start: 0, size: 256 * MIB }).unwrap();
    params.ram.push(Range { start: 4096 * MIB, size: 64 * MIB }).unwrap();
    let low = match mode {
        Mode::Plain => map::PARAMS.end(),
        Mode::Snp => map::SECRETS.end(),
    };
    let start = map::BOOT_TABLES.start;
    params.launched.push(Range { start, size: low - start }).unwrap();
    params.launched.push(Range { start: map::BOOT_CODE.start, size: 0x5000 }).unwrap();
    params
}

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
    ("no RAM", |p| p.ram = Default::default(), Termination::ParamsRam),
    ("RAM twice", |p| p.ram.push(Range { start: MIB, size: MIB }).unwrap(), Termination::ParamsRam),
    ("RAM in hole", |p| ram(p, 0xbfff_f000, 0x2000), Termination::ParamsRam),
    ("RAM that wraps", |p| ram(p, u64::MAX - 0xfff, 0x1000), Termination::ParamsRam),
    ("RAM above the C-bit", |p| ram(p, 1 << 51, 0x1000), Termination::ParamsRam),
    ("part of a page", |p| ram(p, 1 << 33, 0x1001), Termination::ParamsRam),
    ("kernel said to be launched", |p| launched(p, 16 * MIB, 0x1000), Termination::ParamsLaunched),
    (
        "scratch said to be launched",
        |p| launched(p, map::SCRATCH.start, 0x1000),
        Termination::ParamsLaunched,
    ),
    (
        "zero page said to be launched",
        |p| p.launched = one(0x1000, 0xf000),
        Termination::ParamsLaunched,
    ),
    ("boot code not launched", |p| p.launched = one(0x1000, 0x6000), Termination::ParamsLaunched),
    ("staging low", |p| p.staging.start = 0, Termination::ParamsStaging),
    ("staging across RAM's end", |p| p.staging.start = 250 * MIB, Termination::ParamsStaging),
    ("staging wraps", |p| p.staging.size = u64::MAX - 0xfff, Termination::ParamsStaging),
    ("kernel absent", |p| p.kernel = Blob::default(), Termination::ParamsBlob),
    ("kernel outside the window", |p| p.kernel.staged.start = 64 * MIB, Termination::ParamsBlob),
    ("kernel wraps", |p| p.kernel.staged.size = u64::MAX - MIB, Termination::ParamsBlob),
    (
        "kernel over the boot code",
        |p| p.kernel.destination = map::BOOT_CODE.start,
        Termination::ParamsBlob,
    ),
    ("kernel into staging", |p| p.kernel.destination = 120 * MIB, Termination::ParamsBlob),
    ("initrd over the kernel", |p| p.initrd.destination = 20 * MIB, Termination::ParamsBlob),
    ("initrd above RAM", |p| p.initrd.destination = 250 * MIB, Termination::ParamsBlob),
    ("initrd in high RAM", |p| p.initrd.destination = 4100 * MIB, Termination::ParamsBlob),
    ("long command line", |p| p.cmdline.staged.size = 2048, Termination::ParamsBlob),
    ("command line elsewhere", |p| p.cmdline.destination += 1, Termination::ParamsBlob),
    ("tables too long", |p| p.acpi.staged.size = map::ACPI.size + 1, Termination::ParamsBlob),
    ("RSDP outside tables", |p| p.rsdp += 0x900, Termination::ParamsBlob),
    ("hash of nothing", |p| p.initrd.staged.size = 0, Termination::ParamsBlob),
];

fn ram(params: &mut Params, start: u64, size: u64) {
    params.ram = one(0, 192 * MIB);
    params.ram.push(Range { start, size }).unwrap();
}

fn launched(params: &mut Params, start: u64, size: u64) {
    params.launched.push(Range { start, size }).unwrap();
}

fn one(start: u64, size: u64) -> casemate_layout::Ranges<32> {
    let mut ranges = casemate_layout::Ranges::default();
    ranges.push(Range { start, size }).unwrap();
    ranges
}

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
fn the_map_has_no_overlaps_and_a_launch_stays_within_its_page_budget() {
    use map::{
        ACPI, BIOS_DATA, BOOT_CODE, BOOT_TABLES, CC_BLOB, CMDLINE, CPUID, LEGACY, PARAMS, SCRATCH,
        SECRETS, ZERO_PAGE,
    };
    let parts = [
        BIOS_DATA,
        BOOT_TABLES,
        PARAMS,
        CPUID,
        SECRETS,
        CC_BLOB,
        ZERO_PAGE,
        CMDLINE,
        BOOT_CODE,
        SCRATCH,
        ACPI,
        LEGACY,
    ];
    for pair in parts.windows(2) {
        assert!(pair[0].end() <= pair[1].start, "{pair:?}");
    }
    let bytes: u64 =
        [BOOT_TABLES, PARAMS, CPUID, SECRETS, BOOT_CODE].iter().map(|part| part.size).sum();
    let with_vmsa = usize::try_from(bytes / map::PAGE_SIZE).unwrap() + 1;
    assert!(with_vmsa <= map::PAGE_BUDGET);
}

#[test]
fn first_page_tables_map_two_mebibytes_and_nothing_else() {
    let tables = casemate_layout::paging::boot_tables(47);
    let entries: Vec<u64> =
        tables.chunks(8).map(|entry| u64::from_le_bytes(entry.try_into().unwrap())).collect();
    let c = 1 << 47;
    assert_eq!((entries[0], entries[512], entries[1024]), (0x2003 | c, 0x3003 | c, 0x83 | c));
    assert_eq!(entries.iter().filter(|entry| **entry != 0).count(), 3);
}

proptest! {
    #[test]
    fn no_page_makes_decoding_panic_and_what_decodes_is_canonical(
        edits in proptest::collection::vec((0_usize..0x620, any::<u8>()), 0..12), snp: bool,
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
