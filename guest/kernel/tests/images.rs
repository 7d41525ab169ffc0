//! Kernel images: what is right is recognised, and each fault is refused by its name.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use casemate_kernel::{BzImage, Elf, Kernel, KernelError};
use casemate_layout::Range;
use casemate_test_support::bzimage::bzimage;
use proptest::prelude::{any, prop_assert, proptest};

/// An ELF file with segments (offset, physical address, in file, in memory).
fn elf_file(entry: u64, segments: &[[u64; 4]]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16] = 2;
    file[18] = 62;
    file[24..32].copy_from_slice(&entry.to_le_bytes());
    file[32] = 64;
    file[52] = 64;
    file[54] = 56;
    file[56] = u8::try_from(segments.len()).unwrap();
    for [offset, physical, in_file, in_memory] in segments {
        file.extend_from_slice(&[1, 0, 0, 0, 5, 0, 0, 0]);
        for word in
            [offset, &(physical | 0xffff_ffff_8000_0000), physical, in_file, in_memory, &4096]
        {
            file.extend_from_slice(&word.to_le_bytes());
        }
    }
    file.resize(8192, 0);
    file
}

const GOOD: [u64; 4] = [4096, 0x100_0000, 4096, 8192];

#[test]
fn a_kernel_of_either_kind_is_recognised_and_where_it_runs() {
    let file = elf_file(0x100_0010, &[GOOD]);
    let Kernel::Elf(elf) = Kernel::parse(&file).unwrap() else { panic!("no ELF file") };
    assert_eq!(elf.entry, 0x100_0010);
    let segments: Vec<_> = elf.segments(&file).map(Result::unwrap).collect();
    assert_eq!(segments[0].memory, Range { start: 0x100_0000, size: 8192 });
    let Kernel::BzImage(image) = Kernel::parse(&bzimage(&[])).unwrap() else {
        panic!("no bzImage")
    };
    assert_eq!(
        (image.setup_bytes, image.preferred, image.init_size),
        (1024, 0x100_0000, 0x20_0000)
    );
    let place = image.place(0x100_0000).unwrap();
    assert_eq!(place.entry, 0x100_0200);
    assert_eq!(place.used, Range { start: 0x100_0000, size: 0x20_0000 });
}

#[test]
fn impossible_elf_segments_are_refused_each_by_its_fault() {
    let with = |segments: &[[u64; 4]]| Elf::parse(&elf_file(0x100_0000, segments)).unwrap_err();
    let bad = |segment| match with(&[segment]) {
        KernelError::BadSegment { index: 0, what } => what,
        other => panic!("{other}"),
    };
    assert_eq!(with(&[GOOD, [4096, 0x100_1000, 16, 16]]), KernelError::Overlap(0x100_1000));
    assert_eq!(with(&[[4096, 0x100_0000, 4097, 8192]]), KernelError::Truncated("a segment"));
    assert_eq!(with(&[[u64::MAX, 0x100_0000, 2, 8]]), KernelError::Truncated("a segment"));
    assert_eq!(bad([0, 0x100_0000, 9, 8]), "it is larger in the file than in memory");
    assert_eq!(bad([0, 0x1_0000, 8, 8]), "it starts below 1 MiB");
    assert_eq!(bad([0, u64::MAX - 3, 1, 8]), "it wraps");
    assert_eq!(bad([0, 0xc000_0000, 1, 8]), "it ends above 3 GiB");
    assert_eq!(with(&[[0, 0x200_0000, 8, 8]]), KernelError::BadEntry(0x100_0000));
    assert_eq!(with(&[[0, 0x100_0000, 0, 0]]), KernelError::NoSegments);
    assert_eq!(with(&[]), KernelError::NoSegments);
    let many = |count: u64| (0..count).map(|n| [4096, 0x100_0000 + n * 0x1000, 16, 0x1000]);
    assert_eq!(with(&many(17).collect::<Vec<_>>()), KernelError::TooManySegments);
    assert_eq!(with(&many(65).collect::<Vec<_>>()), KernelError::TooManyHeaders(65));
    let mut table_outside = elf_file(0x100_0000, &[GOOD]);
    table_outside[39] = 0xff;
    assert_eq!(Elf::parse(&table_outside), Err(KernelError::Truncated("a program header")));
    assert_eq!(Elf::parse(&table_outside[..30]), Err(KernelError::Truncated("the ELF header")));
}

/// Protects: what a linker script or a tool adds to a kernel's file does not keep it from booting.
/// Flags of segments and headers that are not loaded are such things.
#[test]
fn segments_are_taken_by_address_and_size_whatever_their_flags_and_their_neighbours() {
    let entry_in = |flags: u8| {
        let mut file = elf_file(0x120_0040, &[GOOD, [4096, 0x120_0000, 4096, 4096]]);
        file[64 + 56 + 4] = flags;
        Elf::parse(&file)
    };
    for flags in 0..8 {
        assert_eq!(entry_in(flags).map(|elf| elf.entry), Ok(0x120_0040), "flags {flags}");
    }
    // 48 headers of PT_NULL, whose other words are nonsense, and 16 segments.
    let segments = (0..64_u64).map(|n| match n % 4 {
        0 => [4096, 0x100_0000 + n * 0x1000, 16, 0x1000],
        _ => [u64::MAX, 1, u64::MAX, 3],
    });
    let mut file = elf_file(0x100_0000, &segments.collect::<Vec<_>>());
    for n in (0..64).filter(|n| n % 4 != 0) {
        file[64 + 56 * n] = 0;
    }
    let elf = Elf::parse(&file).unwrap();
    assert_eq!(elf.segments(&file).count(), 16);
}

#[test]
fn what_a_bzimage_says_of_command_line_and_initrd_is_read() {
    let image = |edits: &[(usize, &[u8])]| BzImage::parse(&bzimage(edits)).unwrap();
    assert_eq!(image(&[(0x238, &[0xff, 7])]).cmdline_max, Some(2047));
    assert_eq!(image(&[(0x238, &[0, 0])]).cmdline_max, None);
    assert_eq!(image(&[(0x22c, &[0xff, 0xff, 0xff, 0x37])]).initrd_max, 0x37ff_ffff);
}

#[test]
fn impossible_bzimages_are_refused_each_by_its_fault() {
    let with = |at: usize, bytes: &[u8]| BzImage::parse(&bzimage(&[(at, bytes)])).unwrap_err();
    assert_eq!(with(0x202, b"HdrX"), KernelError::NotAKernel);
    assert_eq!(with(0x1fe, &[0]), KernelError::BadHeader("boot_flag"));
    assert_eq!(with(0x206, &[11]), KernelError::OldProtocol { major: 2, minor: 11 });
    assert_eq!(with(0x236, &[0]), KernelError::No64BitEntry);
    assert_eq!(with(0x211, &[0]), KernelError::No64BitEntry);
    assert_eq!(with(0x201, &[0x20]), KernelError::BadHeader("its length"));
    assert_eq!(with(0x1f4, &[0, 0, 1]), KernelError::Truncated("the protected-mode kernel"));
    assert_eq!(with(0x1f1, &[0xff]), KernelError::Truncated("the protected-mode kernel"));
    assert_eq!(with(0x230, &[1]), KernelError::BadHeader("kernel_alignment"));
    assert_eq!(
        with(0x260, &[1, 0, 0]),
        KernelError::BadHeader("init_size is less than the kernel")
    );
    let cut = &bzimage(&[])[..0x210];
    assert_eq!(BzImage::parse(cut), Err(KernelError::Truncated("the set-up header")));
    for text in [&b""[..], b"#!/bin/sh\n", &[b'x'; 4096]] {
        assert_eq!(Kernel::parse(text), Err(KernelError::NotAKernel));
    }
}

/// The decompressor of a kernel that can move runs where its own code would be if aligned; one that
/// cannot, as memtest86+, runs where it is.
#[test]
fn memory_that_a_kernel_uses_starts_where_it_is_put_and_ends_where_it_moves_to() {
    let image = |at: u64, relocatable: u8| {
        let edits = [(0x258, &at.to_le_bytes()[..]), (0x234, &[relocatable])];
        BzImage::parse(&bzimage(&edits)).unwrap()
    };
    let used = |at, relocatable, load| image(at, relocatable).place(load).map(|place| place.used);
    let high = 0x100_0000;
    assert_eq!(used(0x10_0000, 0, 0x10_0000), Ok(Range { start: 0x10_0000, size: 0x20_0000 }));
    assert_eq!(used(0x10_0000, 1, 0x10_0000), Ok(Range { start: 0x10_0000, size: 0x30_0000 }));
    assert_eq!(used(high, 1, high), Ok(Range { start: high, size: 0x20_0000 }));
    // Never lower than it prefers; and nowhere else when it cannot move.
    assert_eq!(used(high, 1, 0x20_0000), Ok(Range { start: 0x20_0000, size: 0x100_0000 }));
    assert_eq!(used(high, 0, 0x20_0000), Err(KernelError::DoesNotFit));
    for relocatable in [0, 1] {
        let last = u64::MAX - 4;
        assert_eq!(used(last, relocatable, last), Err(KernelError::DoesNotFit));
    }
}

#[test]
fn an_initrd_goes_above_4_gib_only_for_a_kernel_that_says_so() {
    let limit = |xloadflags: u8, max: u32| {
        let edits = [(0x236, &[xloadflags][..]), (0x22c, &max.to_le_bytes())];
        BzImage::parse(&bzimage(&edits)).unwrap().initrd_limit()
    };
    assert_eq!(limit(1, 0x7fff_ffff), 0x8000_0000);
    assert_eq!(limit(3, 0x7fff_ffff), casemate_layout::map::ADDRESS_LIMIT);
    assert_eq!(limit(1, u32::MAX), 1 << 32);
}

#[test]
fn every_refusal_is_one_line() {
    for error in [
        KernelError::NotAKernel,
        KernelError::Truncated("x"),
        KernelError::OldProtocol { major: 1, minor: 2 },
        KernelError::No64BitEntry,
        KernelError::BadHeader("x"),
        KernelError::BadSegment { index: 1, what: "x" },
        KernelError::TooManyHeaders(65),
        KernelError::TooManySegments,
        KernelError::NoSegments,
        KernelError::Overlap(1),
        KernelError::BadEntry(1),
        KernelError::DoesNotFit,
    ] {
        let text = error.to_string();
        assert!(!text.is_empty() && !text.contains('\n'));
    }
}

proptest! {
    #[test]
    fn any_edits_give_an_answer_and_accepted_files_stay_in_bounds(
        edits in proptest::collection::vec((0_usize..0x300, any::<u8>()), 0..24), elf: bool,
    ) {
        let mut file = if elf { elf_file(0x100_0000, &[GOOD, [0, 0x200_0000, 64, 64]]) } else { bzimage(&[]) };
        for (at, byte) in edits {
            file[at] = byte;
        }
        match Kernel::parse(&file) {
            Ok(Kernel::Elf(elf)) => {
                for segment in elf.segments(&file) {
                    let segment = segment.unwrap();
                    prop_assert!(segment.file.end() <= file.len() as u64);
                    prop_assert!(segment.memory.start >= 1 << 20 && segment.memory.end() <= 3 << 30);
                }
            }
            Ok(Kernel::BzImage(image)) => prop_assert!(image.setup_bytes + 0x200 < file.len() as u64),
            Err(_) => {}
        }
    }
}
