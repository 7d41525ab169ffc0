//! A plan as bytes: the same plan gives the same bytes, and bytes decode to one plan or to none.
//!
//! For keeping a plan and measuring it elsewhere (`casemate measure --save-plan`, `--plan`). What a
//! launch takes from the run, not from the configuration, is left out: the policy's limits and
//! certificates.

use super::contents::Contents;
use super::plan::{FileHashes, LaunchPlan, PageKind, PlanError};
use super::vcpu_state::BootState;
use crate::config::MAX_VCPUS;
use crate::config::{ID_AUTH_SIZE, ID_BLOCK_SIZE, IdBlock, SnpLaunch, strict_page_limits};
use crate::memory::{GpaRange, RamMap, RangeError, SealedBytes};
use casemate_policy::PageStateLimits;
use std::io::{self, Write};
use std::sync::Arc;

const MAGIC: &[u8; 16] = b"casemate plan 2\n";
/// Parts, and shared ranges, of any plan.
const MAX_PARTS: u32 = 64;

/// Why bytes are no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanBytesError {
    /// Another file, or another version.
    #[error("this is no launch plan of this version")]
    Magic,
    /// The file ends too early.
    #[error("the plan is cut off in {0}")]
    Short(&'static str),
    /// A value that no plan has.
    #[error("the plan's {0} is impossible")]
    Value(&'static str),
    /// Bytes behind the plan.
    #[error("{0} bytes follow the plan")]
    Rest(usize),
    /// A range is none.
    #[error("the plan has an impossible range: {0}")]
    Range(#[from] RangeError),
    /// Parts contradict each other.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// Names of parts; what is not among them becomes the first.
const NAMES: [&str; 11] = [
    "other",
    "first page table",
    "parameters",
    "CPUID page",
    "secrets page",
    "boot code",
    "kernel",
    "initrd",
    "command line",
    "ACPI tables",
    "memory map",
];
const KINDS: [PageKind; 5] =
    [PageKind::Normal, PageKind::Zero, PageKind::Unmeasured, PageKind::Secrets, PageKind::Cpuid];

/// Writes until the first failure, which it keeps.
struct Writer<'a>(&'a mut dyn Write, io::Result<()>);
impl Writer<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        if self.1.is_ok() {
            self.1 = self.0.write_all(bytes);
        }
    }
    fn u8(&mut self, value: usize) {
        self.raw(&[u8::try_from(value).unwrap_or(0)]);
    }
    fn u32(&mut self, value: usize) {
        self.raw(&u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.raw(bytes);
    }
    fn name(&mut self, what: &str) {
        self.u8(NAMES.iter().position(|name| *name == what).unwrap_or(0));
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    /// The file that ends with `rest`: what it has is not copied out of it.
    file: Option<&'a Arc<SealedBytes>>,
}
impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], PlanBytesError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(PlanBytesError::Short(what))?;
        self.rest = rest;
        Ok(taken)
    }
    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], PlanBytesError> {
        let bytes = self.take(N, what)?;
        bytes.first_chunk().copied().ok_or(PlanBytesError::Short(what))
    }
    fn u8(&mut self, what: &'static str) -> Result<u8, PlanBytesError> {
        self.array(what).map(u8::from_le_bytes)
    }
    fn u64(&mut self, what: &'static str) -> Result<u64, PlanBytesError> {
        self.array(what).map(u64::from_le_bytes)
    }
    fn count(&mut self, what: &'static str) -> Result<u32, PlanBytesError> {
        let count = self.array(what).map(u32::from_le_bytes)?;
        if count <= MAX_PARTS { Ok(count) } else { Err(PlanBytesError::Value(what)) }
    }
    fn flag(&mut self, what: &'static str) -> Result<bool, PlanBytesError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(PlanBytesError::Value(what)),
        }
    }
    /// No more than there are, so nothing is allocated for a length alone.
    fn contents(&mut self, what: &'static str) -> Result<Contents, PlanBytesError> {
        let len = usize::try_from(self.u64(what)?).map_err(|_| PlanBytesError::Short(what))?;
        let bytes = self.take(len, what)?;
        Ok(match self.file {
            None => bytes.to_vec().into(),
            Some(file) => {
                let end = file.len().saturating_sub(self.rest.len());
                Contents::part(file, end.saturating_sub(len)..end)
            }
        })
    }
    fn choice<T: Copy>(&mut self, all: &[T], what: &'static str) -> Result<T, PlanBytesError> {
        let index = usize::from(self.u8(what)?);
        all.get(index).copied().ok_or(PlanBytesError::Value(what))
    }
}

impl LaunchPlan {
    /// The plan as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Memory takes every byte.
        let _ = self.write_to(&mut bytes);
        bytes
    }

    /// Writes the plan's bytes, contents as they lie in it: an initrd is not copied for this.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_to(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut to = Writer(to, Ok(()));
        to.raw(MAGIC);
        to.u64(self.ram.size());
        to.u32(self.vcpus as usize);
        for value in [self.boot.rip, self.boot.rsp, self.boot.rsi, self.boot.cr3] {
            to.u64(value);
        }
        to.u32(self.shared.len());
        for range in &self.shared {
            to.u64(range.start());
            to.u64(range.size());
        }
        match &self.snp {
            None => to.u8(0),
            Some(launch) => {
                to.u8(1);
                write_snp(&mut to, launch);
            }
        }
        to.u32(self.pages().len());
        for pages in self.pages() {
            to.name(pages.what);
            to.u8(KINDS.iter().position(|kind| *kind == pages.kind).unwrap_or(0));
            to.u64(pages.range.start());
            to.bytes(pages.contents());
        }
        to.u32(self.staging().len());
        for staged in self.staging() {
            to.name(staged.what);
            to.u64(staged.gpa);
            to.bytes(&staged.bytes);
        }
        to.raw(&self.files.kernel);
        to.raw(&self.files.initrd);
        to.1
    }

    /// The plan in `bytes`.
    ///
    /// # Errors
    /// [`PlanBytesError`]; whatever decodes is a plan that could have been made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PlanBytesError> {
        Self::read(Reader { rest: bytes, file: None }, strict_page_limits)
    }

    /// The plan in `file` from byte `at` to its end, under these limits. Its contents stay in the
    /// file.
    ///
    /// # Errors
    /// As [`LaunchPlan::from_bytes`].
    pub fn from_sealed(
        file: &Arc<SealedBytes>,
        at: usize,
        limits: PageStateLimits,
    ) -> Result<Self, PlanBytesError> {
        let rest = file.get(at..).ok_or(PlanBytesError::Magic)?;
        Self::read(Reader { rest, file: Some(file) }, || limits)
    }

    fn read(
        mut from: Reader<'_>,
        limits: impl FnOnce() -> PageStateLimits,
    ) -> Result<Self, PlanBytesError> {
        from.rest = from.rest.strip_prefix(MAGIC).ok_or(PlanBytesError::Magic)?;
        let ram = from.u64("RAM")?;
        if ram > 1 << 42 {
            return Err(PlanBytesError::Value("RAM"));
        }
        let ram = RamMap::new(ram)?;
        let vcpus = from.array("vCPUs").map(u32::from_le_bytes)?;
        if !(1..=MAX_VCPUS).contains(&vcpus) {
            return Err(PlanBytesError::Value("number of vCPUs"));
        }
        let mut register = || from.u64("registers");
        let boot =
            BootState { rip: register()?, rsp: register()?, rsi: register()?, cr3: register()? };
        let mut plan = Self::new(ram, vcpus, boot);
        for _ in 0..from.count("number of shared ranges")? {
            let range = GpaRange::new(from.u64("shared ranges")?, from.u64("shared ranges")?)?;
            if !plan.ram.covers(range) {
                return Err(PlanBytesError::Value("shared range"));
            }
            plan.shared.push(range);
        }
        if from.flag("protection")? {
            plan.snp = Some(read_snp(&mut from, limits)?);
        }
        for _ in 0..from.count("number of parts")? {
            let what = from.choice(&NAMES, "name of a part")?;
            let kind = from.choice(&KINDS, "kind of a page")?;
            let gpa = from.u64("address of a part")?;
            let contents = from.contents("contents of a part")?;
            if contents.is_empty() || !contents.len().is_multiple_of(crate::memory::PAGE_BYTES) {
                return Err(PlanBytesError::Value("length of a part"));
            }
            plan.add_pages(what, kind, gpa, contents)?;
        }
        for _ in 0..from.count("number of staged parts")? {
            let what = from.choice(&NAMES, "name of a part")?;
            let gpa = from.u64("address of a part")?;
            plan.stage(what, gpa, from.contents("contents of a part")?)?;
        }
        plan.files = FileHashes { kernel: from.array("hashes")?, initrd: from.array("hashes")? };
        match from.rest.len() {
            0 => Ok(plan),
            rest => Err(PlanBytesError::Rest(rest)),
        }
    }
}

fn write_snp(to: &mut Writer<'_>, launch: &SnpLaunch) {
    to.u64(launch.policy);
    to.raw(&launch.host_data);
    to.u8(usize::from(launch.author_key_enabled));
    to.u8(usize::from(launch.vcek_disabled));
    to.u64(launch.vmsa_features);
    to.u8(usize::from(launch.c_bit));
    to.u8(usize::from(launch.expect_digest.is_some()));
    to.raw(launch.expect_digest.as_ref().map_or(&[], |digest| digest));
    to.u8(usize::from(launch.id.is_some()));
    if let Some(id) = &launch.id {
        to.raw(&id.block);
        to.raw(&id.auth);
    }
}

fn read_snp(
    from: &mut Reader<'_>,
    limits: impl FnOnce() -> PageStateLimits,
) -> Result<SnpLaunch, PlanBytesError> {
    let policy = from.u64("policy")?;
    let host_data = from.array("host data")?;
    let author_key_enabled = from.flag("author key")?;
    let vcek_disabled = from.flag("VCEK")?;
    let vmsa_features = from.u64("features")?;
    let c_bit = from.u8("C-bit")?;
    let expect_digest = from.flag("digest")?.then(|| from.array("digest")).transpose()?;
    let id = if from.flag("ID block")? {
        let block = from.take(ID_BLOCK_SIZE, "ID block")?.to_vec();
        Some(IdBlock { block, auth: from.take(ID_AUTH_SIZE, "ID block")?.to_vec() })
    } else {
        None
    };
    Ok(SnpLaunch {
        policy,
        host_data,
        id,
        author_key_enabled,
        vcek_disabled,
        vmsa_features,
        c_bit,
        expect_digest,
        certs: None,
        page_limits: limits(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> LaunchPlan {
        let boot = BootState { rip: 1, rsp: 2, rsi: 3, cr3: 0x1000 };
        let mut plan = LaunchPlan::new(RamMap::new(64 << 20).unwrap(), 3, boot);
        plan.shared.push(GpaRange::new(0x20_0000, 0x1000).unwrap());
        plan.snp = Some(SnpLaunch {
            policy: 0x3_0000,
            host_data: [7; 32],
            id: Some(IdBlock { block: vec![1; 96], auth: vec![2; 4096] }),
            author_key_enabled: true,
            vcek_disabled: false,
            vmsa_features: 1 << 5,
            c_bit: 51,
            expect_digest: Some([9; 48]),
            certs: None,
            page_limits: strict_page_limits(),
        });
        plan.add_pages("boot code", PageKind::Normal, 0x1_0000, vec![5; 5000]).unwrap();
        plan.add_pages("CPUID page", PageKind::Cpuid, 0x5000, Vec::new()).unwrap();
        plan.stage("kernel", 0x20_0000, vec![8; 300]).unwrap();
        plan.files = FileHashes { kernel: [3; 32], initrd: [4; 32] };
        plan
    }

    #[test]
    fn a_plan_survives_the_trip_and_keeps_its_digest() {
        let mut plan = plan();
        assert_eq!(LaunchPlan::from_bytes(&plan.to_bytes()), Ok(plan.clone()));
        plan.snp = None;
        assert_eq!(LaunchPlan::from_bytes(&plan.to_bytes()), Ok(plan));
    }

    #[test]
    fn bytes_that_are_no_plan_say_why() {
        let good = plan().to_bytes();
        assert_eq!(LaunchPlan::from_bytes(b"no plan"), Err(PlanBytesError::Magic));
        for cut in 16..good.len() {
            assert!(matches!(LaunchPlan::from_bytes(&good[..cut]), Err(PlanBytesError::Short(_))));
        }
        let longer = [&good[..], &[0; 3]].concat();
        assert_eq!(LaunchPlan::from_bytes(&longer), Err(PlanBytesError::Rest(3)));
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            LaunchPlan::from_bytes(&bytes).unwrap_err()
        };
        assert_eq!(with(16, 1), RangeError::Unaligned(64 << 20 | 1).into());
        assert_eq!(with(22, 1), PlanBytesError::Value("RAM"));
        assert_eq!(with(24, 65), PlanBytesError::Value("number of vCPUs"));
        assert_eq!(with(60, 65), PlanBytesError::Value("number of shared ranges"));
        assert_eq!(with(68, 0xff), PlanBytesError::Value("shared range"));
    }
}
