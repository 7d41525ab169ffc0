//! The parameter page as bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0x000 | 8 | magic `CASEMATE` |
//! | 0x008 | 4 | version |
//! | 0x00c | 4 | mode |
//! | 0x010 | 4 | flags: bit 0, use SHA extensions |
//! | 0x014 | 4 | C-bit |
//! | 0x018 | 2+2 | report port, mark port |
//! | 0x01c | 4 | kernel kind |
//! | 0x020 | 8 | RSDP |
//! | 0x028 | 8+8 | the kernel's memory: start, size |
//! | 0x038 | 8 | limit of an initrd |
//! | 0x040 | 4 × 40 | kernel, initrd, command line, ACPI tables: size, SHA-256 |
//! | 0x0e0 | | zero |

use crate::mode::{KernelKind, Mode};
use crate::params::{Blob, Params, ParamsError, VERSION};
use crate::range::Range;
use crate::{map, ports};

const MAGIC: [u8; 8] = *b"CASEMATE";
/// Offset of the mode, which the boot code reads before it has a stack.
const MODE_OFFSET: usize = 0x0c;
const REPORT_PORT_OFFSET: usize = 0x18;
/// Fields end, zeros begin.
const END: usize = 0xe0;
const FLAG_SHA: u32 = 1;
const PAGE: usize = map::PAGE_BYTES;

impl Params {
    /// Offset of the mode in the page, for code without a stack.
    pub const MODE_OFFSET: usize = MODE_OFFSET;

    /// The mode of a page that may be bad otherwise.
    #[must_use]
    pub fn mode_of(page: &[u8; PAGE]) -> Option<Mode> {
        // Read without regard to the magic and the version: before the page is decoded the mode
        // alone says whether port I/O is possible.
        match (Reader { page, at: MODE_OFFSET }).u32() {
            1 => Some(Mode::Plain),
            2 => Some(Mode::Snp),
            _ => None,
        }
    }

    /// The report port of a page that may be bad otherwise; without a page, the usual one.
    #[must_use]
    pub fn report_port_of(page: &[u8; PAGE]) -> Option<u16> {
        let mut from = Reader { page, at: 0 };
        if from.take() != MAGIC {
            return Some(ports::REPORT_PORT);
        }
        from.at = REPORT_PORT_OFFSET;
        Some(from.u16()).filter(|port| *port != 0)
    }

    /// The page, all that is not a field zero.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut out = Writer { page: &mut page, at: 0 };
        // In the order of the table above: each field goes where the one before ended.
        out.put(&MAGIC);
        out.put(&VERSION.to_le_bytes());
        out.put(&(self.mode as u32).to_le_bytes());
        out.put(&if self.sha_extensions { FLAG_SHA } else { 0 }.to_le_bytes());
        out.put(&u32::from(self.c_bit).to_le_bytes());
        out.put(&self.report_port.to_le_bytes());
        out.put(&self.mark_port.to_le_bytes());
        out.put(&(self.kernel_kind as u32).to_le_bytes());
        let Range { start, size } = self.kernel_memory;
        for number in [self.rsdp, start, size, self.initrd_limit] {
            out.put(&number.to_le_bytes());
        }
        for blob in [&self.kernel, &self.initrd, &self.cmdline, &self.acpi] {
            out.put(&blob.size.to_le_bytes());
            out.put(&blob.sha256);
        }
        page
    }

    /// The parameters of a page, checked: what is returned encodes to the same page and passes
    /// [`Params::check`].
    ///
    /// # Errors
    /// [`ParamsError`] for the first thing that is wrong.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, ParamsError> {
        let mut from = Reader { page, at: 0 };
        if from.take() != MAGIC {
            return Err(ParamsError::Magic);
        }
        // The version before the rest: another one has other fields.
        match from.u32() {
            VERSION => {}
            other => return Err(ParamsError::Version(other)),
        }
        let mode = Self::mode_of(page).ok_or(ParamsError::Malformed("mode"))?;
        // The mode was read in its place; the reader goes on behind it.
        from.at = MODE_OFFSET + 4;
        let sha_extensions = match from.u32() {
            0 => false,
            FLAG_SHA => true,
            _ => return Err(ParamsError::Malformed("flags")),
        };
        let c_bit = u8::try_from(from.u32()).map_err(|_| ParamsError::Malformed("C-bit"))?;
        let (report_port, mark_port) = (from.u16(), from.u16());
        let kernel_kind = match from.u32() {
            1 => KernelKind::BzImage,
            2 => KernelKind::Elf,
            _ => return Err(ParamsError::Malformed("kernel kind")),
        };
        let params = Self {
            mode,
            sha_extensions,
            c_bit,
            report_port,
            mark_port,
            kernel_kind,
            rsdp: from.u64(),
            kernel_memory: Range { start: from.u64(), size: from.u64() },
            initrd_limit: from.u64(),
            kernel: from.blob(),
            initrd: from.blob(),
            cmdline: from.blob(),
            acpi: from.blob(),
        };
        // What is reserved is zero, or a page would have several encodings, and measured bytes that
        // nobody looks at.
        if page.iter().skip(END).any(|byte| *byte != 0) {
            return Err(ParamsError::Malformed("a reserved byte"));
        }
        // Form first, then sense: a page that decodes has been through the same check as the
        // host's.
        params.check()?;
        Ok(params)
    }
}

struct Writer<'a> {
    page: &'a mut [u8; PAGE],
    at: usize,
}

impl Writer<'_> {
    /// All fields together are shorter than the page.
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(slot) = self.page.get_mut(self.at..end) {
            slot.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

/// Reads fields one after another. Offsets are the format's own and end long before the page does:
/// what would lie behind it is read as zero, and no format has such a field.
struct Reader<'a> {
    page: &'a [u8; PAGE],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let bytes = self.page.get(self.at..).and_then(|rest| rest.first_chunk()).copied();
        self.at = self.at.saturating_add(N);
        bytes.unwrap_or([0; N])
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn blob(&mut self) -> Blob {
        Blob { size: self.u64(), sha256: self.take() }
    }
}
