//! Files that people hand over as a kernel and that are none: what they are, and what to do.
//!
//! Looked at only after [`casemate_kernel`] refused the file, and only on the host: nothing of this
//! is measured, and nothing of it makes a file acceptable. The marks are those of `file(1)`'s magic
//! and of the formats' own documents.

use casemate_kernel::bytes::{array, u16_at, u32_at, u64_at};

/// A format that is known and not booted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// What it is: "a gzip file".
    pub what: &'static str,
    /// What its owner can do.
    pub remedy: &'static str,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it is {}: {}", self.what, self.remedy)
    }
}

const NEEDED: &str = "a bzImage (`vmlinuz`) or an ELF `vmlinux` for x86-64 is needed";
const OTHER_PROCESSOR: &str = "guests run on x86-64, so a kernel for x86-64 is needed";
const UNPACK: &str = "unpack it first; what starts is an x86-64 bzImage or ELF `vmlinux`, not Xen, not a multiboot or \
     arm64 kernel, whatever they are packed in";
const INITRD: &str = "that belongs to `initrd`, not to `kernel`";
const TAKE_OUT: &str = "take its kernel out (`objcopy -O binary --only-section=.linux FILE vmlinuz`), and `.initrd` and \
     `.cmdline` in the same way";

/// Marks at fixed offsets, the more telling first.
const MARKS: &[(usize, &[u8], &str, &str)] = &[
    // A header of 64 bytes that may begin with MZ: Documentation/arch/arm64/booting.rst and
    // arch/riscv/boot-image-header.rst.
    (0x38, b"ARM\x64", "an arm64 kernel (`Image`)", OTHER_PROCESSOR),
    (0x38, b"RSC\x05", "a RISC-V kernel (`Image`)", OTHER_PROCESSOR),
    (0x24, b"\x18\x28\x6f\x01", "a 32-bit ARM kernel (`zImage`)", OTHER_PROCESSOR),
    // drivers/firmware/efi/libstub/zboot-header.S: for arm64, RISC-V and LoongArch only.
    (4, b"zimg", "a compressed EFI kernel of another processor (`vmlinuz.efi`)", OTHER_PROCESSOR),
    (0, b"\x1f\x8b", "a gzip file", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (0, b"BZh", "a bzip2 file", UNPACK),
    (0, b"\x02\x21\x4c\x18", "an lz4 file", UNPACK),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", UNPACK),
    (0, b"\x89LZO", "an lzop file", UNPACK),
    (0, b"\x5d\0\0", "an lzma file", UNPACK),
    (0, b"070701", "a cpio archive, an initial RAM file system", INITRD),
    (0, b"070702", "a cpio archive, an initial RAM file system", INITRD),
    (0, b"hsqs", "a squashfs file system", NEEDED),
    (0, b"\x27\x05\x19\x56", "a U-Boot image (`uImage`)", NEEDED),
    (0, b"\xd0\x0d\xfe\xed", "a flattened device tree or FIT image", NEEDED),
    (0, b"ANDROID!", "an Android boot image", "take its kernel out; it must be for x86-64"),
    (0, b"QFI\xfb", "a qcow2 disk image", "take the kernel out of its /boot"),
    (0, b"!<arch>\n", "a Debian package or an archive", "unpack it and name its `vmlinuz`"),
    (0, b"\xed\xab\xee\xdb", "an RPM package", "unpack it and name its `vmlinuz`"),
    (0, b"IGVM", "an IGVM file", "another VMM starts it (`casemate measure --igvm` measures it)"),
    (0, b"PK\x03\x04", "a zip archive", "take the kernel out of it"),
    (0x101, b"ustar", "a tar archive", "take the kernel out of it"),
    (0x438, b"\x53\xef", "an ext file system", "take the kernel out of its /boot"),
    (0x400, b"\xe2\xe1\xf5\xe0", "an EROFS file system", "take the kernel out of it"),
    (0x8001, b"CD001", "an ISO 9660 image", "take the kernel out of it"),
    (0, b"#!", "a script", NEEDED),
];

/// What `file` is, when that is known.
#[must_use]
pub fn foreign(file: &[u8]) -> Option<Foreign> {
    if file.is_empty() {
        return Some(Foreign { what: "empty", remedy: NEEDED });
    }
    if file.starts_with(b"\x7fELF") {
        return foreign_elf(file);
    }
    let marked = MARKS
        .iter()
        .find(|(at, mark, _, _)| file.get(*at..).is_some_and(|there| there.starts_with(mark)));
    if let Some((_, _, what, remedy)) = marked {
        return Some(Foreign { what, remedy });
    }
    if file.starts_with(b"MZ") {
        return foreign_pe(file);
    }
    (u16_at(file, 0x1fe) == Some(0xaa55)).then_some(Foreign {
        what: "a boot sector or disk image",
        remedy: "take the kernel out of its file system",
    })
}

/// PE files that are no bzImage: a kernel built as an EFI program is both, so these have no kernel
/// of their own in front.
fn foreign_pe(file: &[u8]) -> Option<Foreign> {
    let unified = sections(file)?.any(|name| &name == b".linux\0\0");
    Some(match unified {
        true => Foreign { what: "a unified kernel image (UKI)", remedy: TAKE_OUT },
        false => Foreign { what: "an EFI program, such as a boot loader or shell", remedy: NEEDED },
    })
}

/// Names of the sections of a PE file (PE format, "COFF File Header" and "Section Table"), at most
/// 96 of them.
fn sections(file: &[u8]) -> Option<impl Iterator<Item = [u8; 8]> + '_> {
    let header = usize::try_from(u32_at(file, 0x3c)?).ok()?;
    let coff = header.checked_add(4)?;
    if array(file, header) != Some(*b"PE\0\0") {
        return None;
    }
    let count = usize::from(u16_at(file, coff.checked_add(2)?)?).min(96);
    let optional = usize::from(u16_at(file, coff.checked_add(16)?)?);
    let table = coff.checked_add(20)?.checked_add(optional)?;
    Some((0..count).map_while(move |index| array(file, table.checked_add(index * 40)?)))
}

fn foreign_elf(file: &[u8]) -> Option<Foreign> {
    let (class, order) = (file.get(4)?, file.get(5)?);
    let it_is = |what, remedy| Some(Foreign { what, remedy });
    if (*class, *order) == (1, 1) {
        return it_is(
            "a 32-bit ELF file, such as Xen, a multiboot kernel or a kernel for i386",
            "guests are entered in 64-bit mode; a bzImage or a 64-bit ELF `vmlinux` is needed",
        );
    }
    let machine = u16_at(file, 0x12)?;
    match (*order, machine) {
        (1, 62) => {}
        (1, 183) => return it_is("an arm64 ELF file", OTHER_PROCESSOR),
        (1, 243) => return it_is("a RISC-V ELF file", OTHER_PROCESSOR),
        _ => return it_is("an ELF file for another processor", OTHER_PROCESSOR),
    }
    match u16_at(file, 0x10)? {
        1 => it_is("an object file or kernel module", NEEDED),
        3 => it_is("a shared library or position-independent program", NEEDED),
        4 => it_is("a core dump", NEEDED),
        _ => None,
    }
}

const PROGRAM: Foreign = Foreign {
    what: "a program for Linux, not a kernel",
    remedy: "it belongs into an initrd, and a kernel starts it",
};

/// An ELF executable that Linux would run as a program.
///
/// The format does not tell a kernel from a program. A program says so when it wants an
/// interpreter, a dynamic linker or thread-local storage, all of which a kernel's loader would have
/// to provide; or when its own ELF header is loaded at one of the addresses where linkers put
/// programs unless told otherwise (GNU ld and Go 4 MiB, lld and mold 2 MiB).
#[must_use]
pub fn program(file: &[u8]) -> Option<Foreign> {
    const LOAD: u32 = 1;
    const DYNAMIC: u32 = 2;
    const INTERPRETER: u32 = 3;
    const THREAD_LOCAL: u32 = 7;
    const BASES: [u64; 2] = [0x40_0000, 0x20_0000];
    let table = usize::try_from(u64_at(file, 0x20)?).ok()?;
    let count = usize::from(u16_at(file, 0x38)?);
    let headers = (0..count).map_while(|index| {
        let header: [u8; 56] = array(file, table.checked_add(index.checked_mul(56)?)?)?;
        Some((u32_at(&header, 0)?, u64_at(&header, 8)?, u64_at(&header, 16)?))
    });
    let is_program = |(kind, offset, address)| match kind {
        INTERPRETER | DYNAMIC | THREAD_LOCAL => true,
        LOAD => offset == 0 && BASES.contains(&address),
        _ => false,
    };
    headers.into_iter().any(is_program).then_some(PROGRAM)
}
