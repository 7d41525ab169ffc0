//! What kind of kernel a file is, what of it is staged, and the memory it runs in.
//!
//! The parser is the boot code's ([`casemate_kernel`]): the guest checks the image again, from the
//! bytes it has hashed; here it tells the user what is wrong before anything is started.

use super::foreign::{Foreign, foreign, program};
use casemate_kernel::{BzImage, Elf, Kernel, KernelError, Segment};
use casemate_layout::{KernelKind, Range, map};

/// A kernel, as far as a launch needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelImage {
    /// How it is entered.
    pub kind: KernelKind,
    /// Whole pages that it runs in and may write before it knows the memory map.
    pub memory: Range,
    /// First address that no byte of its initrd may have.
    pub initrd_limit: u64,
    /// Longest command line in bytes (`cmdline_size`); `None` when it does not say.
    pub cmdline_max: Option<u32>,
}

/// Why a file cannot be a guest's kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KernelFault {
    /// A kernel with a fault, or a file that nobody knows.
    #[error(transparent)]
    Image(#[from] KernelError),
    /// A file of another kind.
    #[error("{0}")]
    Foreign(Foreign),
    /// It runs nowhere but where it cannot be loaded.
    #[error(
        "it can only run at {address:#x}, where the boot code is: use a kernel that can be \
         relocated (CONFIG_RELOCATABLE) or one that prefers 1 MiB or higher"
    )]
    TooLow {
        /// The address at which it runs.
        address: u64,
    },
    /// It runs in memory that no guest has for it.
    #[error(
        "it needs the memory from {start:#x} to {end:#x}, and a kernel gets none below 1 MiB or \
         above 3 GiB: use one that prefers a lower address, or the file is damaged"
    )]
    OutOfReach {
        /// First address that it needs.
        start: u64,
        /// First address that it does not need.
        end: u64,
    },
}

/// Recognises a kernel.
///
/// # Errors
/// [`KernelFault`].
pub fn recognise(file: &[u8]) -> Result<KernelImage, KernelFault> {
    // What a file is called by its owner says more than which field of a kernel it lacks. A set-up
    // header counts as a kernel, whatever stands in front of it.
    let kernel = Kernel::parse(file).map_err(|error| match (error, foreign(file)) {
        (KernelError::NotAKernel, Some(foreign)) => KernelFault::Foreign(foreign),
        (error, _) => error.into(),
    })?;
    match kernel {
        Kernel::BzImage(image) => Ok(KernelImage {
            kind: KernelKind::BzImage,
            memory: bzimage_memory(&image)?,
            initrd_limit: image.initrd_limit(),
            cmdline_max: image.cmdline_max,
        }),
        Kernel::Elf(elf) => {
            if let Some(program) = program(file) {
                return Err(KernelFault::Foreign(program));
            }
            let (mut start, mut end) = (u64::MAX, 0);
            for segment in elf.segments(file) {
                let Segment { memory, .. } = segment?;
                start = memory.start.min(start);
                end = memory.end().max(end);
            }
            let memory = whole_pages(start, end)?;
            // An ELF file says nothing of an initrd; Linux finds one anywhere
            // (`ext_ramdisk_image`).
            let (kind, initrd_limit) = (KernelKind::Elf, map::ADDRESS_LIMIT);
            Ok(KernelImage { kind, memory, initrd_limit, cmdline_max: None })
        }
    }
}

/// Where the protected-mode part is loaded: where it prefers. A kernel that prefers to be where the
/// boot code is goes to 1 MiB, if it lets itself be moved.
fn address(image: &BzImage) -> Result<u64, KernelFault> {
    match image.preferred {
        address if address >= map::HIGH_START => Ok(address),
        _ if image.relocatable => Ok(map::HIGH_START.next_multiple_of(image.alignment)),
        address => Err(KernelFault::TooLow { address }),
    }
}

fn bzimage_memory(image: &BzImage) -> Result<Range, KernelFault> {
    let load = address(image)?;
    let Ok(placement) = image.place(load) else {
        // It would end behind the last address there is.
        return Err(KernelFault::OutOfReach { start: load, end: u64::MAX });
    };
    whole_pages(placement.used.start, placement.used.end())
}

fn whole_pages(start: u64, end: u64) -> Result<Range, KernelFault> {
    // Where the boot code is below, and devices are above.
    if start < map::HIGH_START || end > map::DEVICE_HOLE.start {
        return Err(KernelFault::OutOfReach { start, end });
    }
    // Both limits are whole pages, so rounding goes beyond neither.
    let end = end.next_multiple_of(map::PAGE_SIZE);
    Ok(Range::between(start - start % map::PAGE_SIZE, end))
}

const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
/// Contents of segments start on such a border.
const ALIGN: usize = 64;

/// What is staged, and measured, of a kernel file instead of the file itself: of an ELF file an ELF
/// file of nothing but the segments that are loaded. None for a bzImage, which is staged as it is.
///
/// Symbols and debugging information, often twenty times what is loaded, are neither copied to the
/// guest nor hashed, and a kernel that was stripped has the launch digest of the same kernel that
/// was not.
///
/// # Errors
/// [`KernelFault`]; a file that [`recognise`] refuses is left to it.
pub fn staged(file: &[u8]) -> Result<Option<Vec<u8>>, KernelFault> {
    let Ok(Kernel::Elf(elf)) = Kernel::parse(file) else { return Ok(None) };
    if let Some(program) = program(file) {
        return Err(KernelFault::Foreign(program));
    }
    let loaded = loaded_alone(file, &elf).ok_or(KernelError::Truncated("a segment"))?;
    Ok(Some(loaded))
}

/// Segments may share bytes of the file, but no memory, which ends at 3 GiB: so does what this
/// makes of any file.
fn loaded_alone(file: &[u8], elf: &Elf) -> Option<Vec<u8>> {
    let segments: Vec<Segment> = elf.segments(file).collect::<Result<_, _>>().ok()?;
    let mut out = file.get(..ELF_HEADER)?.to_vec();
    let mut set = |at: usize, bytes: &[u8]| {
        out.get_mut(at..at + bytes.len()).map(|to| to.copy_from_slice(bytes))
    };
    // Program headers follow; there are no section headers (System V ABI, ELF-64 object file
    // format).
    set(0x20, &(ELF_HEADER as u64).to_le_bytes())?;
    set(0x28, &0_u64.to_le_bytes())?;
    set(0x38, &u16::try_from(segments.len()).ok()?.to_le_bytes())?;
    set(0x3c, &[0; 4])?;
    let mut at = (ELF_HEADER + segments.len() * PROGRAM_HEADER).next_multiple_of(ALIGN);
    let mut contents = Vec::new();
    for segment in &segments {
        let start = usize::try_from(segment.file.start).ok()?;
        let bytes =
            file.get(start..start.checked_add(usize::try_from(segment.file.size).ok()?)?)?;
        // PT_LOAD, all rights: the boot code asks for neither rights nor virtual address nor
        // alignment.
        out.extend([1_u32, 7].iter().flat_map(|word| word.to_le_bytes()));
        let Range { start, size } = segment.memory;
        let numbers = [at as u64, start, start, bytes.len() as u64, size, map::PAGE_SIZE];
        out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let end = at + bytes.len();
        contents.push((at, bytes));
        at = end.next_multiple_of(ALIGN);
    }
    for (at, bytes) in contents {
        out.resize(at, 0);
        out.extend_from_slice(bytes);
    }
    Some(out)
}

#[cfg(test)]
#[allow(clippy::cast_possible_truncation, reason = "tests with small numbers")]
mod tests {
    use super::*;

    /// An ELF file whose segments are `[offset, address, bytes in the file, bytes in memory]`, and
    /// what follows them.
    fn elf(segments: &[[u64; 4]], size: usize) -> Vec<u8> {
        let mut file: Vec<u8> = (0..size).map(|index| (index * 7 % 251) as u8).collect();
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[0; 64]);
        put(0, b"\x7fELF\x02\x01\x01");
        put(0x10, &[2, 0, 62, 0, 1]);
        put(0x18, &0x100_0000_u64.to_le_bytes());
        put(0x20, &64_u64.to_le_bytes());
        put(0x28, &(size as u64 - 64).to_le_bytes());
        put(0x34, &[64, 0, 56, 0, segments.len() as u8 + 1, 0, 64, 0, 1, 0, 0, 0]);
        // A note, which is not loaded, comes first.
        put(64, &[4, 0, 0, 0]);
        for (index, [offset, address, bytes, memory]) in segments.iter().enumerate() {
            let at = 64 + 56 * (index + 1);
            put(at, &[1, 0, 0, 0, 5, 0, 0, 0]);
            for (field, value) in [offset, &0, address, bytes, memory].into_iter().enumerate() {
                put(at + 8 + field * 8, &value.to_le_bytes());
            }
        }
        file
    }

    const SEGMENTS: [[u64; 4]; 3] = [
        [0x1000, 0x100_0000, 0x800, 0x3000],
        [0x2345, 0x200_0000, 0x123, 0x1000],
        [0x1100, 0x300_0000, 0x40, 0x40],
    ];

    #[test]
    fn what_is_staged_of_an_elf_file_is_loaded_like_the_file_and_has_nothing_else() {
        let whole = elf(&SEGMENTS, 1 << 20);
        let lean = staged(&whole).unwrap().unwrap();
        assert!(lean.len() < 0x800 + 0x123 + 0x40 + 64 * 9, "{} bytes", lean.len());
        let (before, after) = (Elf::parse(&whole).unwrap(), Elf::parse(&lean).unwrap());
        assert_eq!((before.entry, after.segments(&lean).count()), (after.entry, SEGMENTS.len()));
        for (old, new) in before.segments(&whole).zip(after.segments(&lean)) {
            let (old, new) = (old.unwrap(), new.unwrap());
            let bytes = |file: &[u8], range: Range| {
                file[range.start as usize..range.end() as usize].to_vec()
            };
            assert_eq!(old.memory, new.memory);
            assert_eq!(bytes(&whole, old.file), bytes(&lean, new.file));
        }
        assert_eq!(recognise(&lean), recognise(&whole));
    }

    #[test]
    fn a_stripped_kernel_and_the_same_with_debugging_information_are_staged_alike() {
        let lean = staged(&elf(&SEGMENTS, 0x4000)).unwrap();
        assert_eq!(staged(&elf(&SEGMENTS, 1 << 20)).unwrap(), lean);
        assert_eq!(
            staged(lean.as_ref().unwrap()).unwrap(),
            lean,
            "what was staged is staged as it is"
        );
    }

    #[test]
    fn memory_of_an_elf_kernel_is_whole_pages_from_its_first_segment_to_its_last() {
        let image =
            recognise(&elf(&[SEGMENTS[0], [0x1000, 0x1ff_f800, 16, 0x900]], 0x4000)).unwrap();
        assert_eq!(image.memory, Range { start: 0x100_0000, size: 0x100_1000 });
    }
}
