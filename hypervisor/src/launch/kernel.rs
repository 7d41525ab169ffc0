//! What kind of kernel a file is, and whether it can be started at all.
//!
//! The guest's shim checks the image again, from the bytes it has hashed; these checks are for the user, before
//! anything is started. Boot protocol: Linux `Documentation/arch/x86/boot.rst`. ELF: gABI, "Program Header".

/// An image that can be entered at its 64-bit entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// A bzImage with a 64-bit entry.
    BzImage {
        /// Bytes that the kernel needs from where it is loaded (`init_size`).
        memory: u64,
        /// Where it wants to be loaded (`pref_address`).
        address: u64,
        /// Bytes of the file before the protected-mode part.
        setup: u64,
    },
    /// An ELF vmlinux.
    Elf {
        /// Lowest physical address of a segment.
        start: u64,
        /// First physical address after the last segment.
        end: u64,
        /// Physical address of the entry.
        entry: u64,
    },
}

/// Why a file is no kernel for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Neither format.
    #[error("it is neither a bzImage nor an x86-64 ELF kernel")]
    NotAKernel,
    /// The file ends too early.
    #[error("it is truncated: {0} lies beyond its end")]
    Truncated(&'static str),
    /// An old kernel.
    #[error("its boot protocol is {major}.{minor}, older than 2.12: use a kernel from this decade")]
    OldProtocol {
        /// Major version.
        major: u8,
        /// Minor version.
        minor: u8,
    },
    /// No 64-bit entry, or not loadable above 1 MiB.
    #[error("it has no 64-bit entry point (XLF_KERNEL_64): a 64-bit kernel is needed")]
    No64BitEntry,
    /// A segment is impossible.
    #[error("segment {index} of the ELF file is impossible: {what}")]
    BadSegment {
        /// Its index.
        index: u16,
        /// What is wrong.
        what: &'static str,
    },
    /// Two segments share memory.
    #[error("segments of the ELF file overlap at {0:#x}")]
    Overlap(u64),
    /// The entry is in no segment.
    #[error("the entry point {0:#x} of the ELF file is in none of its segments")]
    BadEntry(u64),
}

/// Fields of a file, little-endian, checked.
#[derive(Clone, Copy)]
struct Image<'a>(&'a [u8]);

impl Image<'_> {
    fn array<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..)?.first_chunk::<N>().copied()
    }
    fn u8(self, at: usize) -> Option<u8> {
        self.array(at).map(u8::from_le_bytes)
    }
    fn u16(self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }
    fn u32(self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }
    fn u64(self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

/// Recognises a kernel.
///
/// # Errors
/// [`KernelError`].
pub fn recognise(bytes: &[u8]) -> Result<KernelKind, KernelError> {
    let image = Image(bytes);
    if bytes.starts_with(b"\x7fELF") {
        elf(image)
    } else if image.array(0x202) == Some(*b"HdrS") {
        bz_image(image)
    } else {
        Err(KernelError::NotAKernel)
    }
}

fn bz_image(image: Image<'_>) -> Result<KernelKind, KernelError> {
    const SETUP_HEADER: KernelError = KernelError::Truncated("the setup header");
    /// `XLF_KERNEL_64`.
    const KERNEL_64: u16 = 1;
    /// `LOADED_HIGH`.
    const LOADED_HIGH: u8 = 1;
    let version = image.u16(0x206).ok_or(SETUP_HEADER)?;
    let [minor, major] = version.to_le_bytes();
    if version < 0x20c {
        return Err(KernelError::OldProtocol { major, minor });
    }
    let flags = image.u16(0x236).ok_or(SETUP_HEADER)?;
    if flags & KERNEL_64 == 0 || image.u8(0x211).ok_or(SETUP_HEADER)? & LOADED_HIGH == 0 {
        return Err(KernelError::No64BitEntry);
    }
    let setup_sectors = u64::from(image.u8(0x1f1).ok_or(SETUP_HEADER)?.max(1));
    // `syssize` counts paragraphs of the protected-mode part.
    let system = u64::from(image.u32(0x1f4).ok_or(SETUP_HEADER)?) * 16;
    let setup = (setup_sectors + 1) * 512;
    if setup + system.min(1 << 40) > (image.0.len() as u64).next_multiple_of(16) {
        return Err(KernelError::Truncated("the protected-mode kernel"));
    }
    let address = image.u64(0x258).ok_or(SETUP_HEADER)?;
    let memory = u64::from(image.u32(0x260).ok_or(SETUP_HEADER)?);
    Ok(KernelKind::BzImage { memory, address, setup })
}

fn elf(image: Image<'_>) -> Result<KernelKind, KernelError> {
    const HEADER: KernelError = KernelError::Truncated("the ELF header");
    const X86_64: u16 = 62;
    const PT_LOAD: u32 = 1;
    const MAX_SEGMENTS: u16 = 64;
    // 64-bit, little-endian, machine.
    if image.u8(4) != Some(2) || image.u8(5) != Some(1) || image.u16(18) != Some(X86_64) {
        return Err(KernelError::NotAKernel);
    }
    let entry = image.u64(24).ok_or(HEADER)?;
    let table = image.u64(32).ok_or(HEADER)?;
    let (size, count) = (image.u16(54).ok_or(HEADER)?, image.u16(56).ok_or(HEADER)?);
    if size < 56 || count > MAX_SEGMENTS {
        return Err(KernelError::NotAKernel);
    }
    let mut segments: Vec<(u64, u64)> = Vec::new();
    let mut physical_entry = None;
    for index in 0..count {
        let bad = |what| KernelError::BadSegment { index, what };
        let truncated = || KernelError::Truncated("a program header");
        let at = table
            .checked_add(u64::from(index) * u64::from(size))
            .and_then(|at| usize::try_from(at).ok())
            .ok_or_else(truncated)?;
        if image.u32(at).ok_or_else(truncated)? != PT_LOAD {
            continue;
        }
        let word = |offset: usize| {
            at.checked_add(offset).and_then(|at| image.u64(at)).ok_or_else(truncated)
        };
        let (offset, virt, phys) = (word(8)?, word(16)?, word(24)?);
        let (in_file, in_memory) = (word(32)?, word(40)?);
        if in_memory < in_file {
            return Err(bad("it is larger in the file than in memory"));
        }
        if offset.checked_add(in_file).is_none_or(|end| end > image.0.len() as u64) {
            return Err(KernelError::Truncated("a segment"));
        }
        let end = phys.checked_add(in_memory).ok_or_else(|| bad("it wraps"))?;
        if in_memory > 0 {
            segments.push((phys, end));
        }
        // Linux gives the entry as a physical address; other kernels as a virtual one.
        for base in [virt, phys] {
            if let Some(into) = entry.checked_sub(base).filter(|into| *into < in_memory) {
                physical_entry = Some(phys + into);
            }
        }
    }
    segments.sort_unstable();
    for pair in segments.windows(2) {
        if let [(_, end), (start, _)] = pair
            && start < end
        {
            return Err(KernelError::Overlap(*start));
        }
    }
    let (Some((start, _)), Some((_, end))) = (segments.first(), segments.last()) else {
        return Err(KernelError::NotAKernel);
    };
    let entry = physical_entry.ok_or(KernelError::BadEntry(entry))?;
    Ok(KernelKind::Elf { start: *start, end: *end, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An ELF file with segments (offset, virtual, physical, in file, in memory).
    fn elf_file(entry: u64, segments: &[[u64; 5]]) -> Vec<u8> {
        let mut file = vec![0; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        file[24..32].copy_from_slice(&entry.to_le_bytes());
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(segments.len()).unwrap();
        for [offset, virt, phys, in_file, in_memory] in segments {
            file.extend_from_slice(&1_u64.to_le_bytes());
            for word in [offset, virt, phys, in_file, in_memory, &4096] {
                file.extend_from_slice(&word.to_le_bytes());
            }
        }
        file.resize(8192, 0);
        file
    }

    #[test]
    fn an_elf_kernel_is_recognised_with_its_physical_entry() {
        let file = elf_file(0x100_0010, &[[4096, 0xffff_8000_0000_0000, 0x100_0000, 4096, 8192]]);
        let kind = recognise(&file).unwrap();
        assert_eq!(kind, KernelKind::Elf { start: 0x100_0000, end: 0x100_2000, entry: 0x100_0010 });
    }

    #[test]
    fn impossible_elf_segments_are_refused_each_by_its_fault() {
        let good = [4096, 0, 0x100_0000, 4096, 8192];
        let with = |segments: &[[u64; 5]]| recognise(&elf_file(0x100_0000, segments)).unwrap_err();
        assert_eq!(with(&[good, [4096, 0, 0x100_1000, 16, 16]]), KernelError::Overlap(0x100_1000));
        assert_eq!(with(&[[4096, 0, 0x100_0000, 4097, 8192]]), KernelError::Truncated("a segment"));
        assert!(matches!(with(&[[0, 0, u64::MAX, 1, 8]]), KernelError::BadSegment { .. }));
        assert!(matches!(with(&[[0, 0, 0x100_0000, 9, 8]]), KernelError::BadSegment { .. }));
        assert!(matches!(with(&[[0, 0, 0x200_0000, 8, 8]]), KernelError::BadEntry(_)));
        assert_eq!(with(&[]), KernelError::NotAKernel);
    }

    #[test]
    fn text_an_empty_file_and_an_old_kernel_are_refused() {
        assert_eq!(recognise(b""), Err(KernelError::NotAKernel));
        assert_eq!(recognise(&[b'x'; 4096]), Err(KernelError::NotAKernel));
        let mut old = vec![0; 4096];
        old[0x202..0x208].copy_from_slice(b"HdrS\x0b\x02");
        assert_eq!(recognise(&old), Err(KernelError::OldProtocol { major: 2, minor: 11 }));
    }

    proptest! {
        #[test]
        fn any_bytes_after_either_magic_give_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 0..700), elf: bool) {
            let magic: (usize, &[u8]) = if elf { (0, b"\x7fELF\x02\x01") } else { (0x202, b"HdrS") };
            if bytes.len() >= magic.0 + magic.1.len() {
                bytes[magic.0..][..magic.1.len()].copy_from_slice(magic.1);
                if elf && bytes.len() > 20 { bytes[18] = 62; bytes[19] = 0; }
            }
            let _ = recognise(&bytes);
        }
    }
}
