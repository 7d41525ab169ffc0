//! Kernels and initrds that are none, or do not fit.

use super::{Place, assert_refused, elf, run};
use casemate_test_support::bzimage::bzimage;

#[test]
fn kernels_that_are_none_say_what_is_wrong() {
    let place = Place::new("kernels");
    let mut cut = vec![0; 4096];
    for (to, from) in cut.iter_mut().skip(0x1f1).zip([1, 0, 0, 0, 0, 1]) {
        *to = from;
    }
    for (to, from) in cut.iter_mut().skip(0x202).zip(*b"HdrS\x0f\x02") {
        *to = from;
    }
    for (at, byte) in [(0x1fe, 0x55), (0x1ff, 0xaa), (0x201, 0x6a), (0x211, 1), (0x236, 1)] {
        if let Some(to) = cut.get_mut(at) {
            *to = byte;
        }
    }
    let good = (0x100_0000, 16, 4096);
    for (bytes, words) in [
        (b"just a text\n".to_vec(), ["`kernel`", "neither"]),
        (cut, ["`kernel`", "truncated"]),
        (elf(0x100_0000, &[(0x100_0000, 9000, 9000)]), ["`kernel`", "truncated"]),
        (elf(0x100_0000, &[good, (0x100_0800, 16, 4096)]), ["`kernel`", "overlap"]),
        (elf(0x900_0000, &[good]), ["`kernel`", "entry point"]),
        (elf(0x100_0000, &[good, (u64::MAX, 16, 4096)]), ["`kernel`", "impossible"]),
        (elf(0x100_0000, &[(0x100_0000, 16, 1 << 40)]), ["`kernel`", "above 3 GiB"]),
        (elf(0x100_0000, &[(0x100_0000, 16, 1 << 31)]), ["`memory`", "too little"]),
    ] {
        place.write("kernel", &bytes);
        assert_refused(&mut run(&place, &[]), 2, &words);
    }
}

/// A PE file with one section of this name, and what else it has at these places.
fn pe(section: &[u8; 8], parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    let good: [(usize, &[u8]); 4] =
        [(0, b"MZ"), (0x3c, &[0x80]), (0x80, b"PE\0\0\x64\x86\x01\0"), (0x98, section)];
    for (at, bytes) in good.iter().chain(parts) {
        for (to, from) in file.iter_mut().skip(*at).zip(*bytes) {
            *to = *from;
        }
    }
    file
}

/// Protects: who hands over what is no kernel reads what it is and what to do. It cannot tell
/// whether a tool named there does what it says.
#[test]
fn files_that_are_no_kernels_are_named_with_what_to_do() {
    let place = Place::new("foreign");
    let zeros = |mark: &[u8]| [mark, &[0; 4096]].concat();
    let changed = |at: usize, byte: u8| {
        let mut file = elf(0x100_0000, &[(0x100_0000, 16, 4096)]);
        if let Some(to) = file.get_mut(at) {
            *to = byte;
        }
        file
    };
    for (bytes, words) in [
        (Vec::new(), ["empty", "is needed"]),
        (b"#!/bin/sh\n".to_vec(), ["a script", "is needed"]),
        (zeros(b"\x1f\x8b\x08"), ["a gzip file", "unpack it first"]),
        (zeros(b"\xfd7zXZ\0"), ["an xz file", "not Xen"]),
        (zeros(b"\x28\xb5\x2f\xfd"), ["a zstd file", "unpack"]),
        (zeros(b"070701"), ["cpio archive", "`initrd`"]),
        (zeros(b"IGVM"), ["an IGVM file", "measure --igvm"]),
        (zeros(b"PK\x03\x04"), ["a zip archive", "out of it"]),
        (zeros(&[&[0; 0x101], &b"ustar"[..]].concat()), ["a tar archive", "out of it"]),
        (zeros(&[&[1; 0x438], &b"\x53\xef"[..]].concat()), ["an ext file system", "/boot"]),
        (pe(b".linux\0\0", &[]), ["unified kernel image", "--only-section=.linux"]),
        (pe(b".text\0\0\0", &[]), ["an EFI program", "is needed"]),
        (pe(b".text\0\0\0", &[(4, b"zimg")]), ["another processor", "x86-64"]),
        (pe(b".text\0\0\0", &[(0x38, b"ARM\x64")]), ["an arm64 kernel", "x86-64"]),
        (pe(b".text\0\0\0", &[(0x3c, &[0xff; 4])]), ["neither", "bzImage"]),
        (changed(4, 1), ["a 32-bit ELF file", "64-bit mode"]),
        (changed(18, 183), ["an arm64 ELF file", "x86-64"]),
        (changed(16, 1), ["kernel module", "is needed"]),
        (changed(16, 3), ["position-independent program", "is needed"]),
    ] {
        place.write("kernel", &bytes);
        let words: Vec<&str> = [&["`kernel`"][..], &words].concat();
        assert_refused(&mut run(&place, &[]), 2, &words);
    }
}

/// An ELF executable as linkers make programs: `kind` is the type of its second program header.
fn program(kind: u8, base: u64, offset: u64) -> Vec<u8> {
    let mut file = elf(base + 0x1000, &[(base, 0x800, 0x2000), (base + 0x2000, 16, 4096)]);
    for (at, byte) in [(72, offset), (73, offset >> 8), (120, u64::from(kind))] {
        if let Some(to) = file.get_mut(at) {
            *to = u8::try_from(byte & 0xff).unwrap_or(0);
        }
    }
    file
}

/// Protects: a program that Linux runs is not entered as a kernel. It cannot tell a program that a
/// linker script placed elsewhere and that wants nothing of a loader.
#[test]
fn a_static_program_does_not_pass_for_a_kernel() {
    let place = Place::new("program");
    let (load, interpreter, tls) = (1, 3, 7);
    for bytes in [
        program(load, 0x40_0000, 0),
        program(load, 0x20_0000, 0),
        program(tls, 0x100_0000, 0x1000),
        program(interpreter, 0x100_0000, 0x1000),
    ] {
        place.write("kernel", &bytes);
        assert_refused(&mut run(&place, &[]), 2, &["`kernel`", "program for Linux", "initrd"]);
    }
    // The same addresses, with a kernel's own bytes there; and an ELF header loaded elsewhere.
    for bytes in [program(load, 0x40_0000, 0x1000), program(load, 0xff_f000, 0)] {
        let kind = casemate_hypervisor::launch::kernel::recognise(&bytes).map(|image| image.kind);
        assert_eq!(kind, Ok(casemate_layout::KernelKind::Elf));
    }
}

/// Protects: a kernel gets the command line that was asked for and measured, whole, and an initrd
/// where it looks for it.
#[test]
fn the_limits_that_a_kernel_declares_hold() {
    let place = Place::new("limits");
    place.write("kernel", &bzimage(&[(0x238, &[100])]));
    let long = "x".repeat(101);
    assert_refused(
        &mut run(&place, &["--cmdline", &long]),
        2,
        &["`cmdline`", "101", "at most 100"],
    );
    // 32 MiB: the kernel uses 16 to 18 MiB, and no initrd of 15 MiB fits below its limit, whatever
    // the memory.
    place.write("kernel", &bzimage(&[(0x22c, &[0xff, 0xff, 0xff, 1])]));
    let initrd = place.write("initrd", &vec![7; 15 << 20]);
    for memory in ["128M", "1G"] {
        let mut command = run(&place, &["--memory", memory, "--initrd", &initrd]);
        assert_refused(&mut command, 2, &["`initrd`", "none beyond 0x1ffffff"]);
    }
}

/// Protects: a kernel that cannot be put where it has to run says so in words of its owner.
#[test]
fn a_kernel_that_must_run_too_low_says_so_and_one_that_moves_is_moved() {
    use casemate_hypervisor::launch::kernel::recognise;
    let place = Place::new("low");
    let at = |address: u32, relocatable: u8| {
        bzimage(&[(0x258, &address.to_le_bytes()), (0x234, &[relocatable])])
    };
    place.write("kernel", &at(0xf_0000, 0));
    assert_refused(&mut run(&place, &[]), 2, &["`kernel`", "0xf0000", "relocat"]);
    // As memtest86+, at 1 MiB: set-up sectors need not lie in front.
    for (address, relocatable, start) in
        [(0xf_0000, 1, 0x20_0000), (0x10_0000, 1, 0x10_0000), (0x10_0000, 0, 0x10_0000)]
    {
        let image = recognise(&at(address, relocatable)).unwrap();
        assert_eq!(image.memory.start, start, "{address:#x}");
    }
}

#[test]
fn an_initrd_that_does_not_fit_asks_for_more_memory() {
    let place = Place::new("initrd");
    let initrd = place.write("initrd", &vec![7; 60 << 20]);
    let mut command = run(&place, &["--memory", "64M", "--initrd", &initrd]);
    assert_refused(&mut command, 2, &["`memory`", "64 MiB", "initrd", "need"]);
}

/// Protects: so does one that wants memory which no guest has for a kernel, by its size or by the
/// address that it prefers.
#[test]
fn a_kernel_that_reaches_too_high_says_which_memory_it_needs() {
    let place = Place::new("high");
    for (field, bytes, words) in [
        (0x260, &[0xff; 4][..], "to 0x1"),
        (0x258, &[0, 0, 0, 0xb0, 1, 0, 0, 0], "0x1b0000000"),
        (0x258, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], "0xffffffff00000000"),
        (0x258, &[0, 0, 0xc0, 0xff, 0xff, 0xff, 0xff, 0xff], "0xffffffffffc00000"),
    ] {
        place.write("kernel", &bzimage(&[(field, bytes)]));
        assert_refused(&mut run(&place, &[]), 2, &["`kernel`", "above 3 GiB", words]);
    }
}
