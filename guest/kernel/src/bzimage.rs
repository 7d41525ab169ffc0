//! bzImage: the set-up header, checked, and where the 64-bit entry is (Linux,
//! Documentation/arch/x86/boot.rst).

use crate::KernelError;
use crate::bytes::{array, u16_at, u32_at, u64_at};
use casemate_layout::Range;
use casemate_layout::map::ADDRESS_LIMIT;

const SECTOR: u64 = 512;
const BOOT_FLAG: u16 = 0xaa55;
const SIGNATURE: [u8; 4] = *b"HdrS";
/// Least boot protocol, 2.12 (Linux 3.8), which brought `xloadflags`.
const MIN_PROTOCOL: u16 = 0x020c;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
const XLF_ABOVE_4G: u16 = 2;
const XLOADFLAGS: usize = 0x236;
/// The 64-bit entry, from the start of the protected-mode part.
const ENTRY_64: u64 = 0x200;
/// Where the header starts, in the file and in the zero page.
pub const HEADER_START: usize = 0x1f1;
/// Bytes of the zero page that a header may take.
pub const HEADER_BYTES: usize = 0x290 - HEADER_START;
/// The header must reach `init_size`, its end at 2.12.
const MIN_HEADER_END: usize = 0x264;
const DEFAULT_SETUP_SECTORS: u64 = 4;
/// No kernel asks for more; the bound keeps the arithmetic small.
const MAX_ALIGNMENT: u64 = 1 << 30;

/// What a checked header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BzImage {
    /// Bytes of the file before its protected-mode part.
    pub setup_bytes: u64,
    /// Where it would like to run.
    pub preferred: u64,
    /// Bytes that it needs from where it runs.
    pub init_size: u64,
    /// What it must be aligned to where it runs, a power of two.
    pub alignment: u64,
    /// Whether it runs elsewhere than where it prefers.
    pub relocatable: bool,
    /// Highest address of an initrd's last byte (`initrd_addr_max`).
    pub initrd_max: u64,
    /// Longest command line that it takes, without the terminating zero; `None` when it names no
    /// limit. The kernel cuts what is longer without a word.
    pub cmdline_max: Option<u32>,
    /// The header itself, for the zero page.
    pub header: [u8; HEADER_BYTES],
    header_len: usize,
}

/// Where a kernel is entered, and what it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// First instruction, in 64-bit mode.
    pub entry: u64,
    /// Memory that it writes before it knows the memory map.
    pub used: Range,
}

impl BzImage {
    /// Checks the header of `file`.
    ///
    /// # Errors
    /// [`KernelError`].
    pub fn parse(file: &[u8]) -> Result<Self, KernelError> {
        let header = checked_header(file)?;
        // boot.rst, `setup_sects`: 0 stands for 4, as old kernels wrote it. The first sector comes
        // on top.
        let sectors = match header.setup_sectors {
            0 => DEFAULT_SETUP_SECTORS,
            sectors => u64::from(sectors),
        };
        let setup_bytes = (sectors + 1) * SECTOR;
        let code = KernelError::Truncated("the protected-mode kernel");
        // Two lengths are held against the file: what the header needs to be entered, and
        // `syssize`, which is in paragraphs of 16 bytes. A file may be longer (a signature behind
        // it).
        let code_bytes = (file.len() as u64).checked_sub(setup_bytes).ok_or(code)?;
        if code_bytes <= ENTRY_64 || u64::from(header.paragraphs) * 16 > code_bytes {
            return Err(code);
        }
        let alignment = u64::from(header.alignment);
        // A power of two, since the place below is computed by it; bounded, since it comes out of
        // the file.
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return Err(KernelError::BadHeader("kernel_alignment"));
        }
        // `init_size` is what the kernel may write before it knows the memory map: less than its
        // own code cannot be true, and would let other things lie under it.
        if u64::from(header.init_size) < code_bytes {
            return Err(KernelError::BadHeader("init_size is less than the kernel"));
        }
        Ok(Self {
            setup_bytes,
            preferred: header.preferred,
            init_size: u64::from(header.init_size),
            alignment,
            relocatable: header.relocatable != 0,
            initrd_max: u64::from(header.initrd_max),
            cmdline_max: Some(header.cmdline_max).filter(|max| *max != 0),
            header: header.bytes,
            header_len: header.len,
        })
    }

    /// Where the kernel is entered when its protected-mode part is at `load`, and what it uses
    /// there.
    ///
    /// The set-up sectors before that part need not lie in front of it: the 64-bit entry reads its
    /// header from the zero page alone. The decompressor moves itself to the end of where it runs:
    /// the address of its code, aligned, but no lower than it prefers
    /// (arch/x86/boot/compressed/head_64.S).
    ///
    /// # Errors
    /// [`KernelError::DoesNotFit`].
    pub fn place(&self, load: u64) -> Result<Placement, KernelError> {
        let unfit = KernelError::DoesNotFit;
        if !self.relocatable && load != self.preferred {
            return Err(unfit);
        }
        // head_64.S: `%rbp` is its own address, aligned up to `kernel_alignment`, and
        // `LOAD_PHYSICAL_ADDR` if that is higher.
        let start = match self.relocatable {
            true => load.checked_next_multiple_of(self.alignment).ok_or(unfit)?.max(self.preferred),
            false => load,
        };
        let end = start.checked_add(self.init_size).ok_or(unfit)?;
        let used = Range::between(load, end);
        Ok(Placement { entry: load.checked_add(ENTRY_64).ok_or(unfit)?, used })
    }

    /// First address that no byte of an initrd may have: what the header says, or none where the
    /// kernel says that it takes one above 4 GiB (`XLF_CAN_BE_LOADED_ABOVE_4G`).
    #[must_use]
    pub fn initrd_limit(&self) -> u64 {
        let xloadflags = u16_at(&self.header, XLOADFLAGS - HEADER_START).unwrap_or(0);
        match xloadflags & XLF_ABOVE_4G {
            0 => self.initrd_max.saturating_add(1),
            _ => ADDRESS_LIMIT,
        }
    }

    /// The header's own bytes.
    #[must_use]
    pub fn header_bytes(&self) -> &[u8] {
        self.header.get(..self.header_len).unwrap_or(&[])
    }
}

struct Header {
    setup_sectors: u8,
    paragraphs: u32,
    initrd_max: u32,
    alignment: u32,
    relocatable: u8,
    cmdline_max: u32,
    preferred: u64,
    init_size: u32,
    bytes: [u8; HEADER_BYTES],
    len: usize,
}

fn checked_header(file: &[u8]) -> Result<Header, KernelError> {
    // The signature first: without it the file is of another kind, and nothing else of it means
    // anything.
    if array(file, 0x202) != Some(SIGNATURE) {
        return Err(KernelError::NotAKernel);
    }
    let cut = KernelError::Truncated("the set-up header");
    if u16_at(file, 0x1fe) != Some(BOOT_FLAG) {
        return Err(KernelError::BadHeader("boot_flag"));
    }
    let version = u16_at(file, 0x206).ok_or(cut)?;
    if version < MIN_PROTOCOL {
        let [minor, major] = version.to_le_bytes();
        return Err(KernelError::OldProtocol { major, minor });
    }
    let loadflags = file.get(0x211).ok_or(cut)?;
    let xloadflags = u16_at(file, 0x236).ok_or(cut)?;
    if xloadflags & XLF_KERNEL_64 == 0 || loadflags & LOADED_HIGH == 0 {
        return Err(KernelError::No64BitEntry);
    }
    // The jump over the header tells its length: a two-byte short jump at 0x200.
    let end = 0x202 + usize::from(*file.get(0x201).ok_or(cut)?);
    if end < MIN_HEADER_END || end - HEADER_START > HEADER_BYTES {
        return Err(KernelError::BadHeader("its length"));
    }
    read_header(file, end).ok_or(cut)
}

fn read_header(file: &[u8], end: usize) -> Option<Header> {
    let len = end.checked_sub(HEADER_START)?;
    let mut bytes = [0; HEADER_BYTES];
    bytes.get_mut(..len)?.copy_from_slice(file.get(HEADER_START..end)?);
    Some(Header {
        setup_sectors: *file.get(HEADER_START)?,
        paragraphs: u32_at(file, 0x1f4)?,
        initrd_max: u32_at(file, 0x22c)?,
        alignment: u32_at(file, 0x230)?,
        relocatable: *file.get(0x234)?,
        cmdline_max: u32_at(file, 0x238)?,
        preferred: u64_at(file, 0x258)?,
        init_size: u32_at(file, 0x260)?,
        bytes,
        len,
    })
}
