//! The steps in plain mode, the kernel formats, the tables, and the hash.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod model;

use casemate_boot::sha256::{Engine, Extensions, sha256};
use casemate_boot::{boot, cc, e820, paging};
use casemate_kernel::{BzImage, Elf, bytes};
use casemate_layout::paging::{ENTRIES, LARGE, PRESENT, WRITABLE, c_bit_mask};
use casemate_layout::{Mode, Range, Termination, map, ports::mark};
use model::guest::{self, MIB};
use proptest::prelude::{any, prop_assert_eq, proptest};
use sha2::{Digest, Sha256};

fn number(memory: &[u8], at: u64) -> u64 {
    bytes::u64_at(memory, at as usize).unwrap()
}

fn number32(memory: &[u8], at: u64) -> u32 {
    bytes::u32_at(memory, at as usize).unwrap()
}

#[test]
fn plain_mode_enters_a_bzimage_with_the_zero_page_that_linux_documents() {
    let mut model = guest::machine(&guest::launch(Mode::Plain, &guest::bzimage()));
    let entry = boot(&mut model).unwrap();
    assert_eq!((entry.rip, entry.zero_page), (2 * MIB + 0x200, map::ZERO_PAGE.start));
    assert_eq!(model.marks, [mark::BOOT_CODE, mark::ACCEPTED, mark::VERIFIED, mark::KERNEL]);
    let page = map::ZERO_PAGE.start;
    assert_eq!(model.low[page as usize + 0x210], 0xff, "loader");
    assert_eq!(number32(&model.low, page + 0x228), 0x9000, "command line");
    assert_eq!(number32(&model.low, page + 0x218), guest::INITRD_AT as u32);
    assert_eq!(number32(&model.low, page + 0x21c), 10_000);
    assert_eq!(number(&model.low, page + 0x250), 0, "no setup_data");
    assert_eq!(number(&model.low, page + 0x70), map::ACPI.start + 0x40, "RSDP");
    assert_eq!(model.low[page as usize + 0x1ef], 0, "sentinel");
    assert_eq!(number(&model.low, page + 0x258), 2 * MIB, "header copied");
    assert!(model.low[..4096].iter().all(|byte| *byte == 0), "BIOS data area");
}

#[test]
fn linux_is_told_of_all_ram_but_what_must_not_be_used() {
    let mut model = guest::machine(&guest::launch(Mode::Plain, &guest::bzimage()));
    boot(&mut model).unwrap();
    let zero_page = &model.low[map::ZERO_PAGE.start as usize..][..4096];
    let entries: Vec<_> = e820::entries(zero_page).collect();
    let expected = [
        (0, 0x5000, e820::RAM),
        (0x5000, 0x2000, e820::RESERVED),
        (0x7000, 0x7_9000, e820::RAM),
        (0x8_0000, 0x2_0000, e820::ACPI_TABLES),
        (MIB, 7 * MIB, e820::RAM),
        (4096 * MIB, 4 * MIB, e820::RAM),
    ];
    assert_eq!(entries, expected);
}

/// An initrd larger than low memory has room for goes above 4 GiB, and Linux is told both halves of
/// its address.
#[test]
fn an_initrd_that_does_not_fit_low_is_copied_and_checked_above_4_gib() {
    let low = Range { start: 0, size: 4 * MIB + 0x4000 };
    let high = Range { start: 4096 * MIB, size: 8 * MIB };
    let launch = guest::launch_in(Mode::Snp, &guest::bzimage(), &[low, high]);
    let at = 4102 * MIB - 0x3000;
    assert_eq!(launch.places.initrd.target, Range { start: at, size: 10_000 });
    let mut model = guest::machine(&launch);
    boot(&mut model).unwrap();
    assert!(!model.dead.get());
    assert_eq!(model.high[(at - high.start) as usize..][..10_000], guest::initrd());
    let page = map::ZERO_PAGE.start;
    assert_eq!(number32(&model.low, page + 0x218), at as u32);
    assert_eq!(u64::from(number32(&model.low, page + 0xc0)), at >> 32);
    assert_eq!(number32(&model.low, page + 0x21c), 10_000);
    assert_eq!(number32(&model.low, page + 0xc4), 0);
    let mut model = guest::machine(&launch);
    let staged = launch.places.initrd.staged.start - launch.places.window.start;
    model.staging[staged as usize + 9999] ^= 1;
    assert_eq!(boot(&mut model), Err(Termination::InitrdHash));
}

#[test]
fn snp_mode_gives_linux_the_blob_with_secrets_and_cpuid_page() {
    let mut model = guest::machine(&guest::launch(Mode::Snp, &guest::bzimage()));
    boot(&mut model).unwrap();
    let setup_data = number(&model.low, map::ZERO_PAGE.start + 0x250);
    assert_eq!(setup_data, cc::SETUP_DATA);
    assert_eq!(number(&model.low, setup_data), 0, "the only one");
    assert_eq!(
        (number32(&model.low, setup_data + 8), number32(&model.low, setup_data + 12)),
        (7, 4)
    );
    let blob = u64::from(number32(&model.low, setup_data + 16));
    assert_eq!(number32(&model.low, blob), 0x4544_4d41);
    assert_eq!((number(&model.low, blob + 8), number32(&model.low, blob + 16)), (0x6000, 4096));
    assert_eq!((number(&model.low, blob + 24), number32(&model.low, blob + 32)), (0x5000, 4096));
}

#[test]
fn an_elf_kernel_is_loaded_to_its_physical_addresses_and_its_rest_is_zero() {
    let mut model = guest::machine(&guest::launch(Mode::Plain, &guest::elf()));
    assert_eq!(boot(&mut model).unwrap().rip, 2 * MIB);
    let at = (2 * MIB) as usize;
    assert!(model.low[at..at + 0x2000].iter().all(|byte| *byte == 0x90));
    assert!(model.low[at + 0x2000..at + 0x5000].iter().all(|byte| *byte == 0));
    assert_eq!(number32(&model.low, map::ZERO_PAGE.start + 0x202), u32::from_le_bytes(*b"HdrS"));
}

/// Boots with a changed kernel that has the right hash.
fn refusal(kernel: &[u8]) -> Option<Termination> {
    boot(&mut guest::machine(&guest::launch(Mode::Plain, kernel))).err()
}

#[test]
fn a_kernel_that_would_overwrite_something_or_is_no_kernel_is_refused() {
    let bz = |at: usize, bytes: &[u8]| {
        let mut file = guest::bzimage();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        refusal(&file)
    };
    assert_eq!(bz(0x1fe, &[0]), Some(Termination::KernelFormat), "boot flag");
    assert_eq!(bz(0x206, &[0x0b]), Some(Termination::KernelProtocol), "protocol 2.11");
    assert_eq!(bz(0x236, &[0]), Some(Termination::KernelProtocol), "no 64-bit entry");
    assert_eq!(
        bz(0x260, &(5 * MIB as u32).to_le_bytes()),
        Some(Termination::KernelFit),
        "needs more than the parameters give"
    );
    assert_eq!(bz(0x260, &u32::MAX.to_le_bytes()), Some(Termination::KernelFit), "reaches 4 GiB");
    assert_eq!(bz(0x258, &u64::MAX.to_le_bytes()), Some(Termination::KernelFit), "wraps");
    assert_eq!(bz(0x230, &[3]), Some(Termination::KernelFormat), "alignment");
    assert_eq!(
        bz(0x1f1, &[0xff]),
        Some(Termination::KernelFormat),
        "set-up sectors beyond the file"
    );
    assert_eq!(bz(0x201, &[0xff]), Some(Termination::KernelFormat), "header too long");
    let elf = |at: usize, value: u64| {
        let mut file = guest::elf();
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        refusal(&file)
    };
    assert_eq!(
        elf(88, map::BOOT_CODE.start),
        Some(Termination::KernelFormat),
        "segment over the boot code"
    );
    assert_eq!(elf(88, 4 * MIB), Some(Termination::KernelFormat), "entry in no segment");
    assert_eq!(
        elf(104, 3 * MIB),
        Some(Termination::KernelFit),
        "segment larger than the parameters give"
    );
    assert_eq!(elf(96, u64::MAX), Some(Termination::KernelFormat), "segment beyond the file");
    assert_eq!(elf(104, u64::MAX - 2 * MIB), Some(Termination::KernelFormat), "segment that wraps");
    assert_eq!(refusal(&[0; 5]), Some(Termination::KernelFormat));
}

#[test]
fn a_command_line_with_a_zero_and_tables_without_rsdp_are_refused() {
    let mut launch = guest::launch(Mode::Plain, &guest::bzimage());
    let at = (launch.places.cmdline.staged.start - guest::STAGING.start) as usize;
    launch.staging[at + 3] = 0;
    let cmdline = &launch.staging[at..at + guest::CMDLINE.len()];
    launch.params.cmdline.sha256 = sha256(Engine::Software, cmdline);
    assert_eq!(boot(&mut guest::machine(&launch)), Err(Termination::CmdlineContents));
    let mut launch = guest::launch(Mode::Plain, &guest::bzimage());
    launch.params.rsdp += 1;
    assert_eq!(boot(&mut guest::machine(&launch)), Err(Termination::Rsdp));
}

/// What the tables translate `address` to.
fn walk(tables: &[paging::Table; paging::TABLES], base: u64, address: u64) -> Option<u64> {
    let index = |shift: u32| (address >> shift) as usize % ENTRIES;
    let next = |entry: u64| {
        let table = (entry & ((1 << 46) - 1) & !0xfff).checked_sub(base)? / map::PAGE_SIZE;
        (entry & PRESENT != 0).then(|| tables.get(table as usize)).flatten()
    };
    let leaf = next(next(tables[0][index(39)])?[index(30)])?[index(21)];
    (leaf & (PRESENT | WRITABLE | LARGE) == PRESENT | WRITABLE | LARGE).then_some(leaf & !0x1f_ffff)
}

#[test]
fn page_tables_map_ram_to_itself_and_the_windows_to_where_they_are_aimed() {
    let mut tables = Box::new([[7; ENTRIES]; paging::TABLES]);
    let base = map::SCRATCH_TABLES.start;
    let ram = [Range { start: 0, size: 5 * MIB }, Range { start: 4096 * MIB, size: 64 * MIB }];
    let c_bit = c_bit_mask(51);
    paging::fill(&mut tables, base, &ram, c_bit);
    for address in [0, 0x1f_ffff, 4 * MIB, 5 * MIB] {
        assert_eq!(walk(&tables, base, address), Some((address & !0x1f_ffff) | c_bit));
    }
    for address in [6 * MIB, 4095 * MIB, paging::RAM_WINDOW, paging::STAGING_WINDOW, 6144 * MIB] {
        assert_eq!(walk(&tables, base, address), None, "{address:#x}");
    }
    let gpa = 9 * 1024 * MIB + 3 * MIB;
    assert_eq!(paging::aim(&mut tables[paging::STAGING_WINDOW_TABLE], gpa, 0), 9 * 1024 * MIB);
    let shown = walk(&tables, base, paging::STAGING_WINDOW + 3 * MIB);
    assert_eq!(shown, Some(gpa & !0x1f_ffff), "shared: no C-bit");
    paging::aim(&mut tables[paging::RAM_WINDOW_TABLE], gpa, c_bit);
    assert_eq!(walk(&tables, base, paging::RAM_WINDOW), Some((9 * 1024 * MIB) | c_bit));
}

/// Every engine that this processor has.
fn engines() -> Vec<Engine> {
    let mut engines = vec![Engine::Software];
    if is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") {
        // SAFETY: just detected.
        #[allow(unsafe_code, reason = "the promise was checked")]
        engines.push(Engine::Extensions(unsafe { Extensions::promise() }));
    }
    engines
}

#[test]
fn every_engine_hashes_every_length_like_an_independent_implementation() {
    let bytes: Vec<u8> = (0..1000_u32).map(|index| (index * 31 % 256) as u8).collect();
    for length in 0..bytes.len() {
        let expected: [u8; 32] = Sha256::digest(&bytes[..length]).into();
        for engine in engines() {
            assert_eq!(sha256(engine, &bytes[..length]), expected, "{engine:?}, {length} bytes");
        }
    }
}

proptest! {
    #[test]
    fn engines_agree_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let expected: [u8; 32] = Sha256::digest(&bytes).into();
        for engine in engines() {
            prop_assert_eq!(sha256(engine, &bytes), expected);
        }
    }

    #[test]
    fn no_kernel_makes_the_parsers_panic(edits in proptest::collection::vec((0_usize..0x300, any::<u8>()), 0..20), elf: bool) {
        let mut file = if elf { guest::elf() } else { guest::bzimage() };
        for (at, value) in edits {
            file[at] = value;
        }
        if let Ok(placed) = BzImage::parse(&file).and_then(|image| image.place(guest::KERNEL.start)) {
            assert!(placed.used.contains(Range { start: placed.entry, size: 1 }));
        }
        if let Ok(elf) = Elf::parse(&file) {
            assert!(elf.segments(&file).all(|segment| segment.is_ok_and(|s| s.file.end() <= file.len() as u64)));
        }
    }
}
