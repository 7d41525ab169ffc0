//! The parameter page as bytes.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0x000 | 8 | magic `CASEMATE` |
//! | 0x008 | 4 | version |
//! | 0x00c | 4 | mode |
//! | 0x010 | 4 | flags |
//! | 0x014 | 4 | C-bit |
//! | 0x018 | 2+2 | report port, mark port |
//! | 0x01c | 4 | kernel kind |
//! | 0x020 | 8 | RSDP |
//! | 0x028 | 4+4 | RAM ranges, launched ranges |
//! | 0x030 | 8+8 | staging window |
//! | 0x040 | 4 × 56 | kernel, initrd, command line, ACPI: staged at, size, destination, SHA-256 |
//! | 0x120 | | zero |
//! | 0x200 | 32 × 16 | RAM ranges |
//! | 0x400 | 32 × 16 | launched ranges |
//! | 0x600 | | zero |

use crate::params::{Blob, Flags, KernelKind, MAX_RANGES, Mode, Params};
use crate::range::{Range, Ranges};
use crate::{Termination, map, ports};

const MAGIC: [u8; 8] = *b"CASEMATE";
const VERSION: u32 = 1;
/// Offset of the mode, which the boot code reads before it has a stack.
pub(crate) const MODE_OFFSET: usize = 0x0c;
const REPORT_PORT_OFFSET: usize = 0x18;
const BLOBS_OFFSET: usize = 0x40;
const RAM_OFFSET: usize = 0x200;
const LAUNCHED_OFFSET: usize = 0x400;
const FLAG_SHA: u32 = 1;
const FLAG_RECLAIM: u32 = 2;
const PAGE: usize = map::PAGE_BYTES;

/// Why parameters are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamsError {
    /// Not a parameter page.
    Magic,
    /// Of another version.
    Version(u32),
    /// A field has a value that no encoder writes.
    Malformed(&'static str),
    /// RAM ranges.
    Ram(&'static str),
    /// Launched ranges.
    Launched(&'static str),
    /// Staging window.
    Staging(&'static str),
    /// Blobs: which, and why.
    Blob(&'static str, &'static str),
}

impl ParamsError {
    /// How the boot code says it.
    #[must_use]
    pub const fn termination(self) -> Termination {
        match self {
            Self::Magic => Termination::ParamsMagic,
            Self::Version(_) => Termination::ParamsVersion,
            Self::Malformed(_) => Termination::ParamsMalformed,
            Self::Ram(_) => Termination::ParamsRam,
            Self::Launched(_) => Termination::ParamsLaunched,
            Self::Staging(_) => Termination::ParamsStaging,
            Self::Blob(..) => Termination::ParamsBlob,
        }
    }
}

impl core::fmt::Display for ParamsError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => f.write_str("not a parameter page"),
            Self::Version(found) => write!(f, "parameters of version {found}, not {VERSION}"),
            Self::Malformed(field) => write!(f, "parameters: {field} has no legal value"),
            Self::Ram(why) => write!(f, "RAM ranges: {why}"),
            Self::Launched(why) => write!(f, "launched ranges: {why}"),
            Self::Staging(why) => write!(f, "staging window: {why}"),
            Self::Blob(which, why) => write!(f, "{which}: {why}"),
        }
    }
}

impl core::error::Error for ParamsError {}

impl Params {
    /// Offset of the mode in the page, for code without a stack.
    pub const MODE_OFFSET: usize = MODE_OFFSET;

    /// The mode of a page that may be bad otherwise.
    #[must_use]
    pub fn mode_of(page: &[u8; PAGE]) -> Option<Mode> {
        match (Reader { page, at: MODE_OFFSET }).u32() {
            Ok(1) => Some(Mode::Plain),
            Ok(2) => Some(Mode::Snp),
            _ => None,
        }
    }

    /// The report port of a page that may be bad otherwise; without a page, the usual one.
    #[must_use]
    pub fn report_port_of(page: &[u8; PAGE]) -> Option<u16> {
        let mut from = Reader { page, at: 0 };
        if from.take() != Ok(MAGIC) {
            return Some(ports::REPORT_PORT);
        }
        from.at = REPORT_PORT_OFFSET;
        from.take().ok().map(u16::from_le_bytes).filter(|port| *port != 0)
    }

    /// The page.
    #[must_use]
    pub fn encode(&self) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut out = Writer { page: &mut page, at: 0 };
        out.put(&MAGIC);
        out.u32(VERSION);
        out.u32(self.mode as u32);
        let sha = if self.flags.sha_extensions { FLAG_SHA } else { 0 };
        let reclaim = if self.flags.reclaim_staging { FLAG_RECLAIM } else { 0 };
        out.u32(sha | reclaim);
        out.u32(u32::from(self.c_bit));
        out.put(&self.report_port.to_le_bytes());
        out.put(&self.mark_port.to_le_bytes());
        out.u32(self.kernel_kind as u32);
        out.u64(self.rsdp);
        // A list holds at most MAX_RANGES.
        out.u32(u32::try_from(self.ram.as_slice().len()).unwrap_or(u32::MAX));
        out.u32(u32::try_from(self.launched.as_slice().len()).unwrap_or(u32::MAX));
        out.range(self.staging);
        out.at = BLOBS_OFFSET;
        for blob in [&self.kernel, &self.initrd, &self.cmdline, &self.acpi] {
            out.range(blob.staged);
            out.u64(blob.destination);
            out.put(&blob.sha256);
        }
        for (offset, list) in [(RAM_OFFSET, &self.ram), (LAUNCHED_OFFSET, &self.launched)] {
            out.at = offset;
            for range in list.as_slice() {
                out.range(*range);
            }
        }
        page
    }

    /// The parameters of a page, checked: what is returned is canonical and passes [`Params::check`].
    ///
    /// # Errors
    /// [`ParamsError`] for the first thing that is wrong.
    pub fn decode(page: &[u8; PAGE]) -> Result<Self, ParamsError> {
        let mut from = Reader { page, at: 0 };
        if from.take()? != MAGIC {
            return Err(ParamsError::Magic);
        }
        match from.u32()? {
            VERSION => {}
            other => return Err(ParamsError::Version(other)),
        }
        let mode = Self::mode_of(page).ok_or(ParamsError::Malformed("mode"))?;
        from.at = MODE_OFFSET + 4;
        let flags = from.u32()?;
        let c_bit = u8::try_from(from.u32()?).map_err(|_| ParamsError::Malformed("C-bit"))?;
        let report_port = u16::from_le_bytes(from.take()?);
        let mark_port = u16::from_le_bytes(from.take()?);
        let kernel_kind = match from.u32()? {
            1 => KernelKind::BzImage,
            2 => KernelKind::Elf,
            _ => return Err(ParamsError::Malformed("kernel kind")),
        };
        let rsdp = from.u64()?;
        let (ram, launched) = (from.u32()?, from.u32()?);
        let staging = from.range()?;
        from.at = BLOBS_OFFSET;
        let [kernel, initrd, cmdline, acpi] =
            [from.blob()?, from.blob()?, from.blob()?, from.blob()?];
        let params = Self {
            mode,
            flags: Flags {
                sha_extensions: flags & FLAG_SHA != 0,
                reclaim_staging: flags & FLAG_RECLAIM != 0,
            },
            c_bit,
            report_port,
            mark_port,
            rsdp,
            ram: from.ranges(RAM_OFFSET, ram)?,
            launched: from.ranges(LAUNCHED_OFFSET, launched)?,
            staging,
            kernel_kind,
            kernel,
            initrd,
            cmdline,
            acpi,
        };
        // Unknown flags, bytes between fields and unused entries: all refused at once.
        if params.encode() != *page {
            return Err(ParamsError::Malformed("a reserved byte"));
        }
        params.check()?;
        Ok(params)
    }
}

struct Writer<'a> {
    page: &'a mut [u8; PAGE],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        // Offsets are constants; a field outside the page would fail every round trip in the tests.
        if let Some(slot) = self.page.get_mut(self.at..end) {
            slot.copy_from_slice(bytes);
        }
        self.at = end;
    }

    fn u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }

    fn range(&mut self, range: Range) {
        self.u64(range.start);
        self.u64(range.size);
    }
}

struct Reader<'a> {
    page: &'a [u8; PAGE],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], ParamsError> {
        let end = self.at + N;
        let bytes = self.page.get(self.at..end).and_then(|bytes| bytes.first_chunk());
        self.at = end;
        bytes.copied().ok_or(ParamsError::Malformed("length"))
    }

    fn u32(&mut self) -> Result<u32, ParamsError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ParamsError> {
        self.take().map(u64::from_le_bytes)
    }

    fn range(&mut self) -> Result<Range, ParamsError> {
        Ok(Range { start: self.u64()?, size: self.u64()? })
    }

    fn blob(&mut self) -> Result<Blob, ParamsError> {
        Ok(Blob { staged: self.range()?, destination: self.u64()?, sha256: self.take()? })
    }

    fn ranges(&mut self, at: usize, count: u32) -> Result<Ranges<MAX_RANGES>, ParamsError> {
        let mut ranges = Ranges::default();
        self.at = at;
        for _ in 0..count {
            // The list refuses the first one too many.
            let range = self.range()?;
            ranges.push(range).map_err(|_| ParamsError::Malformed("number of ranges"))?;
        }
        Ok(ranges)
    }
}
