//! From a configuration to a launch plan: where everything goes in guest memory.
//!
//! Only the boot code, its parameters and the first page tables are launched. Kernel, initrd, command line and ACPI
//! tables lie in a staging window of shared memory; the boot code copies them into place and checks their hashes, which
//! are part of the parameters. Low memory is described by [`casemate_layout::map`].

use super::acpi;
use super::kernel::{self, KernelFault, KernelKind};
use super::plan::{Contents, LaunchPlan, Outline, PageKind, PlanError};
use super::vcpu_state::BootState;
use crate::config::VmConfig;
use crate::memory::{GpaRange, PAGE_SIZE, RamMap, RangeError};
use casemate_foreign_text::value;
use casemate_layout::{Blob, Flags, Mode, Params, ParamsError, Range, Ranges, map, paging, ports};

/// The boot code: a flat image for [`map::BOOT_CODE`], entered at its first byte.
pub const BOOT_CODE: &[u8] = include_bytes!(env!("CASEMATE_BOOT_CODE"));

/// Staging starts and the initrd ends on such a border, so that large pages can map them.
const LARGE: u64 = map::LARGE_PAGE_SIZE;
/// Highest address Linux takes an initrd at (`initrd_addr_max` of x86 kernels).
const INITRD_LIMIT: u64 = 0x7fff_ffff;

/// Why no plan can be made from a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The kernel file is none.
    #[error("`kernel` {}: {reason}", value(.path))]
    Kernel {
        /// The file.
        path: String,
        /// What is wrong.
        #[source]
        reason: KernelFault,
    },
    /// The kernel would cut the command line, and nobody would be told.
    #[error("`cmdline` is {len} bytes long: this kernel takes at most {most}")]
    CmdlineLimit {
        /// Bytes of the command line.
        len: usize,
        /// What the kernel's header says.
        most: u32,
    },
    /// The kernel takes an initrd only where there is no room for it.
    #[error(
        "`initrd`: this kernel takes none beyond {limit:#x}, and {size} bytes do not fit between its own memory and that"
    )]
    InitrdLimit {
        /// Highest address of its last byte.
        limit: u64,
        /// Bytes of the initrd.
        size: u64,
    },
    /// The kernel cannot be an SEV-SNP guest.
    #[error(
        "`kernel` {}: it was built without CONFIG_EFI_STUB, which Linux needs to be an SEV-SNP guest \
         (CONFIG_AMD_MEM_ENCRYPT)",
        value(.path)
    )]
    NoEfiStub {
        /// The file.
        path: String,
    },
    /// Everything together does not fit.
    #[error(
        "`memory`: {have} MiB are too little for {what}: kernel, initrd and their staging need {need} MiB"
    )]
    TooLittle {
        /// What did not fit.
        what: &'static str,
        /// MiB of RAM.
        have: u64,
        /// MiB that would do.
        need: u64,
    },
    /// A plan contradicts itself.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Parameters that the boot code would refuse.
    #[error("the boot code would refuse these parameters: {0}")]
    Params(#[from] ParamsError),
    /// The memory size is impossible.
    #[error("`memory`: {0}")]
    Range(#[from] RangeError),
}

/// The files of a launch.
#[derive(Debug, Clone)]
pub struct Files {
    /// Kernel image.
    pub kernel: Vec<u8>,
    /// Initial RAM file system.
    pub initrd: Option<Vec<u8>>,
}

/// Builds the plan. The same configuration and files give the same plan, byte for byte.
///
/// # Errors
/// [`LaunchError`].
pub fn plan(config: &VmConfig, files: Files) -> Result<LaunchPlan, LaunchError> {
    build(config, files.kernel, files.initrd.unwrap_or_default().into())
}

/// The same of an initrd that was read only to be hashed: a plan to be measured, not to be launched.
///
/// # Errors
/// [`LaunchError`].
pub fn outline(
    config: &VmConfig,
    kernel: Vec<u8>,
    initrd: Option<Outline>,
) -> Result<LaunchPlan, LaunchError> {
    build(config, kernel, initrd.map_or_else(|| Vec::new().into(), Contents::Outline))
}

fn build(config: &VmConfig, kernel: Vec<u8>, initrd: Contents) -> Result<LaunchPlan, LaunchError> {
    let kind = kernel::recognise(&kernel).map_err(|reason| LaunchError::Kernel {
        path: config.kernel.display().to_string(),
        reason,
    })?;
    // An EFI stub makes the file a PE image. Of an ELF file nothing can be told.
    if config.snp.is_some()
        && matches!(kind, KernelKind::BzImage { .. })
        && !kernel.starts_with(b"MZ")
    {
        return Err(LaunchError::NoEfiStub { path: config.kernel.display().to_string() });
    }
    let tables = acpi::build(map::ACPI.start, config.vcpus);
    let cmdline = config.cmdline.clone().into_bytes();
    if let KernelKind::BzImage { limits, .. } = kind
        && let Some(most) = limits.cmdline
        && cmdline.len() as u64 > u64::from(most)
    {
        return Err(LaunchError::CmdlineLimit { len: cmdline.len(), most });
    }
    let staged = Staged([
        (KERNEL, kernel.into()),
        (INITRD, initrd),
        (CMDLINE, cmdline.into()),
        (ACPI, tables.bytes.into()),
    ]);
    let ram = RamMap::new(config.memory)?;
    let places = Places::find(&ram, kind, &staged)?;
    let c_bit = config.snp.as_ref().map(|snp| snp.c_bit);
    let boot = BootState {
        rip: map::BOOT_CODE.start,
        rsp: map::SCRATCH.end(),
        rsi: map::PARAMS.start,
        cr3: map::BOOT_TABLES.start,
    };
    let mut plan = LaunchPlan::new(ram, config.vcpus, boot);
    plan.snp = config.snp.clone();
    plan.shared = vec![GpaRange::new(places.staging.start, places.staging.size)?];
    staged.stage(&mut plan, places.staging.start)?;
    let params = params(&plan, kind, &places, tables.rsdp, c_bit)?;
    let tables = paging::boot_tables(params.c_bit).to_vec();
    plan.add_pages("first page tables", PageKind::Normal, map::BOOT_TABLES.start, tables)?;
    plan.add_pages("parameters", PageKind::Normal, map::PARAMS.start, params.encode().to_vec())?;
    if plan.snp.is_some() {
        // Filled at the launch: with what the host's processor has, and by the firmware.
        plan.add_pages("CPUID page", PageKind::Cpuid, map::CPUID.start, Vec::new())?;
        plan.add_pages("secrets page", PageKind::Secrets, map::SECRETS.start, Vec::new())?;
    }
    plan.add_pages("boot code", PageKind::Normal, map::BOOT_CODE.start, BOOT_CODE.to_vec())?;
    Ok(plan)
}

/// Names of what is staged.
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const CMDLINE: &str = "command line";
const ACPI: &str = "ACPI tables";

/// What is staged, in order: kernel, initrd, command line, ACPI tables.
struct Staged([(&'static str, Contents); 4]);

/// Bytes of whole pages; what is too large for any guest stays too large, and sums of it do not overflow.
fn pages(size: u64) -> u64 {
    size.min(map::ADDRESS_LIMIT).next_multiple_of(PAGE_SIZE)
}

impl Staged {
    fn size(&self) -> u64 {
        self.0.iter().map(|(_, contents)| pages(contents.size())).sum()
    }

    fn len(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |(_, contents)| contents.size())
    }

    fn stage(self, plan: &mut LaunchPlan, start: u64) -> Result<(), PlanError> {
        let mut at = start;
        for (what, contents) in self.0 {
            if contents.size() > 0 {
                let size = pages(contents.size());
                plan.stage(what, at, contents)?;
                at += size;
            }
        }
        Ok(())
    }
}

/// Where the large things go.
struct Places {
    kernel: u64,
    initrd: u64,
    staging: Range,
}

impl Places {
    /// From the top of low RAM down: staging, initrd; the kernel where it wants to be.
    fn find(ram: &RamMap, kind: KernelKind, staged: &Staged) -> Result<Self, LaunchError> {
        let low = ram.ranges().first().map_or(0, |range| range.size());
        let initrd_size = pages(staged.len(1));
        let (kernel, kernel_end) = kernel_place(kind, staged.len(0));
        let staging_size = staged.size().next_multiple_of(LARGE);
        let need = (kernel_end + initrd_size + staging_size + 2 * LARGE).div_ceil(1 << 20);
        let too_little = |what| LaunchError::TooLittle { what, have: ram.size() >> 20, need };
        let staging = low
            .checked_sub(staging_size)
            .map(|start| start / LARGE * LARGE)
            .ok_or(too_little("staging"))?;
        let limit = match kind {
            KernelKind::BzImage { limits, .. } => limits.initrd.min(INITRD_LIMIT),
            KernelKind::Elf { .. } => INITRD_LIMIT,
        };
        let below = |end: u64| {
            let start = end.checked_sub(initrd_size).map(|start| start / PAGE_SIZE * PAGE_SIZE);
            start.filter(|start| *start >= kernel_end)
        };
        // Without an initrd this is only where staging must not reach.
        let top = if initrd_size == 0 { staging } else { staging.min(limit + 1) };
        let initrd = below(top).ok_or_else(|| match below(staging) {
            // More memory would not help.
            Some(_) => LaunchError::InitrdLimit { limit, size: staged.len(1) },
            None => too_little("kernel and initrd"),
        })?;
        Ok(Self { kernel, initrd, staging: Range { start: staging, size: staging_size } })
    }
}

/// Where the kernel file is copied to, and the end of the memory that it then uses.
fn kernel_place(kind: KernelKind, len: u64) -> (u64, u64) {
    match kind {
        KernelKind::BzImage { memory, address, setup, .. } => {
            let end = address.saturating_add(memory.max(len)).next_multiple_of(LARGE);
            (address.saturating_sub(setup), end)
        }
        // The file lies behind its segments' places, from where they are moved there.
        KernelKind::Elf { end } => {
            let start = end.min(1 << 40).next_multiple_of(LARGE);
            (start, (start + len).next_multiple_of(LARGE))
        }
    }
}

/// The parameters' description of what is staged as `what` and goes to `destination`.
fn blob(plan: &LaunchPlan, what: &str, destination: u64) -> Blob {
    let staged = plan.staging().iter().find(|staged| staged.what == what);
    staged.map_or_else(Blob::default, |staged| Blob {
        staged: Range { start: staged.gpa, size: staged.size },
        destination,
        sha256: staged.sha256,
    })
}

fn params(
    plan: &LaunchPlan,
    kind: KernelKind,
    places: &Places,
    rsdp: u64,
    c_bit: Option<u8>,
) -> Result<Params, LaunchError> {
    let full = |_| ParamsError::Ram("more ranges than the parameters can hold");
    let mut ranges = Ranges::default();
    for range in plan.ram.ranges() {
        ranges.push(Range { start: range.start(), size: range.size() }).map_err(full)?;
    }
    let mut launched = Ranges::default();
    let code_size = pages(BOOT_CODE.len() as u64);
    for range in [map::BOOT_TABLES, map::PARAMS] {
        launched.push(range).map_err(full)?;
    }
    if c_bit.is_some() {
        for range in [map::CPUID, map::SECRETS] {
            launched.push(range).map_err(full)?;
        }
    }
    launched.push(Range { size: code_size, ..map::BOOT_CODE }).map_err(full)?;
    let params = Params {
        mode: if c_bit.is_some() { Mode::Snp } else { Mode::Plain },
        flags: Flags { sha_extensions: true, reclaim_staging: true },
        c_bit: c_bit.unwrap_or(0),
        report_port: ports::REPORT_PORT,
        mark_port: ports::MARK_PORT,
        rsdp,
        ram: ranges,
        launched,
        staging: places.staging,
        kernel_kind: match kind {
            KernelKind::BzImage { .. } => casemate_layout::KernelKind::BzImage,
            KernelKind::Elf { .. } => casemate_layout::KernelKind::Elf,
        },
        kernel: blob(plan, KERNEL, places.kernel),
        initrd: blob(plan, INITRD, places.initrd),
        cmdline: blob(plan, CMDLINE, map::CMDLINE.start),
        acpi: blob(plan, ACPI, map::ACPI.start),
    };
    params.check()?;
    Ok(params)
}
