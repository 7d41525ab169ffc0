//! What parameters have to mean, beyond their form. The hypervisor runs the same check before a launch.

use crate::map::{
    ACPI, ADDRESS_LIMIT, BOOT_CODE, BOOT_TABLES, CMDLINE, CPUID, DEVICE_HOLE, HIGH_START,
    MAX_CMDLINE, PAGE_SIZE, PARAMS, SECRETS,
};
use crate::params::{Blob, Mode, Params};
use crate::range::Range;
use crate::{ParamsError, paging};

/// Bits 1:0 to 31 are never the C-bit, nor are those that a 4-level table has no address for.
const C_BITS: core::ops::RangeInclusive<u8> = 32..=51;
const RSDP_SIZE: u64 = 36;

impl Params {
    /// Checks everything that can be checked without the memory itself.
    ///
    /// # Errors
    /// [`ParamsError`] for the first thing that is wrong.
    pub fn check(&self) -> Result<(), ParamsError> {
        let c_bit_legal = match self.mode {
            Mode::Plain => self.c_bit == 0,
            Mode::Snp => C_BITS.contains(&self.c_bit),
        };
        if !c_bit_legal {
            return Err(ParamsError::Malformed("C-bit"));
        }
        self.check_ram()?;
        self.check_launched()?;
        self.check_staging()?;
        self.check_blobs()
    }

    fn check_ram(&self) -> Result<(), ParamsError> {
        let limit = match paging::c_bit_mask(self.c_bit) {
            0 => ADDRESS_LIMIT,
            c_bit => ADDRESS_LIMIT.min(c_bit),
        };
        let mut end = 0;
        for (index, range) in self.ram.as_slice().iter().enumerate() {
            if (index == 0) != (range.start == 0) {
                return Err(ParamsError::Ram("the first and only the first starts at 0"));
            }
            if !range.is_aligned(PAGE_SIZE) || range.size == 0 {
                return Err(ParamsError::Ram("not whole pages"));
            }
            if range.start < end {
                return Err(ParamsError::Ram("not ascending"));
            }
            end = range
                .checked_end()
                .filter(|end| *end <= limit)
                .ok_or(ParamsError::Ram("too high"))?;
            if range.overlaps(DEVICE_HOLE) {
                return Err(ParamsError::Ram("in the device hole"));
            }
        }
        if !self.ram.cover(Range { start: 0, size: HIGH_START }) {
            return Err(ParamsError::Ram("the first MiB is missing"));
        }
        Ok(())
    }

    /// Only what [`map`](crate::map) calls launched may be in the list, and parameters and boot code must be.
    fn check_launched(&self) -> Result<(), ParamsError> {
        let mut end = 0;
        for range in self.launched.as_slice() {
            if !range.is_aligned(PAGE_SIZE) || range.size == 0 || range.start < end {
                return Err(ParamsError::Launched("not whole pages, or not ascending"));
            }
            end = range.end();
            let (low, code) = (BOOT_TABLES.start..=SECRETS.end(), BOOT_CODE);
            if !(low.contains(&range.start) && end <= SECRETS.end() || code.contains(*range)) {
                return Err(ParamsError::Launched("pages that no launch fills"));
            }
        }
        let first_of_code = Range { start: BOOT_CODE.start, size: PAGE_SIZE };
        let snp_only = match self.mode {
            Mode::Plain => &[][..],
            Mode::Snp => &[CPUID, SECRETS],
        };
        for needed in [BOOT_TABLES, PARAMS, first_of_code].iter().chain(snp_only) {
            if !self.launched_covers(*needed) {
                return Err(ParamsError::Launched(
                    "page tables, parameters, CPUID, secrets or boot code missing",
                ));
            }
        }
        Ok(())
    }

    /// Whether every page of `range` is in the list, which may be split at page borders.
    fn launched_covers(&self, range: Range) -> bool {
        let mut at = range.start;
        for launched in self.launched.as_slice() {
            if launched.start <= at && at < launched.end() {
                at = launched.end();
            }
        }
        at >= range.end()
    }

    fn check_staging(&self) -> Result<(), ParamsError> {
        let window = self.staging;
        if !window.is_aligned(PAGE_SIZE) || window.size == 0 {
            return Err(ParamsError::Staging("not whole pages"));
        }
        if window.start < HIGH_START || window.checked_end().is_none_or(|end| end > ADDRESS_LIMIT) {
            return Err(ParamsError::Staging("below 1 MiB or too high"));
        }
        if window.overlaps(DEVICE_HOLE) {
            return Err(ParamsError::Staging("in the device hole"));
        }
        let touches_ram = self.ram.as_slice().iter().any(|range| range.overlaps(window));
        if touches_ram && !self.ram.cover(window) {
            return Err(ParamsError::Staging("neither inside nor outside a RAM range"));
        }
        if self.flags.reclaim_staging && !touches_ram {
            return Err(ParamsError::Staging("to be made RAM but outside RAM"));
        }
        Ok(())
    }

    fn check_blobs(&self) -> Result<(), ParamsError> {
        if !self.kernel.is_present() {
            return Err(ParamsError::Blob("kernel", "missing"));
        }
        self.check_high("kernel", &self.kernel)?;
        self.check_high("initrd", &self.initrd)?;
        if self.kernel.target().overlaps(self.initrd.target()) {
            return Err(ParamsError::Blob("initrd", "overlaps the kernel"));
        }
        let cmdline = Range { start: CMDLINE.start, size: MAX_CMDLINE - 1 };
        self.check_low("command line", &self.cmdline, cmdline)?;
        self.check_low("ACPI tables", &self.acpi, ACPI)?;
        let rsdp = Range { start: self.rsdp, size: RSDP_SIZE };
        let rsdp_legal = match self.acpi.is_present() {
            true => self.acpi.target().contains(rsdp),
            false => self.rsdp == 0,
        };
        if rsdp_legal { Ok(()) } else { Err(ParamsError::Blob("RSDP", "outside the ACPI tables")) }
    }

    /// Staged in the window; `false` when there is none.
    fn check_staged(&self, what: &'static str, blob: &Blob) -> Result<bool, ParamsError> {
        if !blob.is_present() {
            return match *blob == Blob::default() {
                true => Ok(false),
                false => Err(ParamsError::Blob(what, "absent, but has an address or a hash")),
            };
        }
        let staged_end = blob.staged.checked_end().ok_or(ParamsError::Blob(what, "wraps"))?;
        blob.target().checked_end().ok_or(ParamsError::Blob(what, "wraps"))?;
        if !self.staging.contains(blob.staged) || staged_end > self.staging.end() {
            return Err(ParamsError::Blob(what, "is staged outside the window"));
        }
        if !blob.staged.start.is_multiple_of(PAGE_SIZE) {
            return Err(ParamsError::Blob(what, "is not staged at the start of a page"));
        }
        Ok(true)
    }

    fn check_high(&self, what: &'static str, blob: &Blob) -> Result<(), ParamsError> {
        let target = blob.target();
        if !self.check_staged(what, blob)? {
            return Ok(());
        }
        if target.start < HIGH_START || target.end() > DEVICE_HOLE.start {
            return Err(ParamsError::Blob(what, "goes below 1 MiB or above 3 GiB"));
        }
        if !self.ram.cover(target) || target.overlaps(self.staging) {
            return Err(ParamsError::Blob(
                what,
                "goes where no RAM is, or into the staging window",
            ));
        }
        Ok(())
    }

    fn check_low(&self, what: &'static str, blob: &Blob, place: Range) -> Result<(), ParamsError> {
        if self.check_staged(what, blob)?
            && (blob.destination != place.start || !place.contains(blob.target()))
        {
            return Err(ParamsError::Blob(what, "is too long or not at its place"));
        }
        Ok(())
    }
}
