//! From a configuration to a launch plan: what is measured, and where everything else goes in guest
//! memory.
//!
//! Only the boot code, its parameters and the first page table are launched. Kernel, initrd,
//! command line and ACPI tables lie in a staging window of shared memory; the boot code copies them
//! into place and checks their hashes, which are part of the parameters. The memory map lies in
//! shared memory, too, and nothing that depends on it is measured. Low memory is described by
//! [`casemate_layout::map`], everything else by the rule of [`casemate_layout::Places`].

use super::acpi;
use super::kernel::{self, KernelFault, KernelImage};
use super::plan::{FileHashes, LaunchPlan, Outline, PageKind, PlanError};
use super::vcpu_state::BootState;
use crate::config::VmConfig;
use crate::memory::{GpaRange, HOLE_END, HOLE_START, RamMap, RangeError};
use casemate_foreign_text::value;
use casemate_layout::{
    Blob, KernelKind, MapError, MemoryMap, Mode, Params, ParamsError, Place, Range, Ranges, map,
    paging, ports,
};
use std::borrow::Cow;

/// The boot code: a flat image for [`map::BOOT_CODE`], entered at its first byte.
pub const BOOT_CODE: &[u8] = casemate_boot_code::BYTES;

// Both sides' words for where RAM is not.
const _: () = assert!(HOLE_START == map::DEVICE_HOLE.start && HOLE_END == map::DEVICE_HOLE.end());

/// Why no plan can be made from a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The kernel file is none.
    #[error("`kernel` {}: {reason}", value(.path))]
    Kernel {
        /// The file as it was named.
        path: String,
        /// What is wrong with it.
        #[source]
        reason: KernelFault,
    },
    /// A file that is no boot code.
    #[error("--boot-code: {len} bytes; a boot code has 1 to {most}")]
    BootCode {
        /// Bytes of the file.
        len: usize,
        /// Bytes of its place.
        most: u64,
    },
    /// The kernel would cut the command line, and nobody would be told.
    #[error("`cmdline` is {len} bytes long: this kernel takes at most {most}")]
    CmdlineLimit {
        /// Bytes of the command line.
        len: usize,
        /// What the kernel's header says.
        most: u32,
    },
    /// The kernel cannot be an SEV-SNP guest.
    #[error(
        "`kernel` {}: it was built without CONFIG_EFI_STUB, which Linux needs to be an SEV-SNP \
         guest (CONFIG_AMD_MEM_ENCRYPT)",
        value(.path)
    )]
    NoEfiStub {
        /// The file as it was named.
        path: String,
    },
    /// Everything together does not fit.
    #[error("`memory`: {have} MiB are too little: this kernel and initrd need {least} MiB")]
    TooLittle {
        /// MiB of RAM that there are.
        have: u64,
        /// MiB that would do.
        least: u64,
    },
    /// The kernel takes an initrd only where there is no room for it; more memory would not help.
    #[error(
        "`initrd`: this kernel takes none beyond {last:#x}, and {size} bytes do not fit between \
         its own memory and that"
    )]
    InitrdLimit {
        /// Highest address of its last byte.
        last: u64,
        /// Bytes of the initrd.
        size: u64,
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
    /// A memory map that the boot code would refuse.
    #[error("`memory`: the boot code would refuse this guest: {0}")]
    Map(#[from] MapError),
}

/// The files of a launch.
#[derive(Debug, Clone)]
pub struct Files {
    /// The kernel's file, whole.
    pub kernel: Vec<u8>,
    /// Initial RAM file system.
    pub initrd: Option<Vec<u8>>,
}

/// What is measured of a guest, but for the number of its vCPUs: made from the files once.
#[derive(Debug, Clone)]
pub struct Image {
    config: VmConfig,
    kernel: KernelImage,
    kernel_blob: Blob,
    initrd_blob: Blob,
    boot_code: Cow<'static, [u8]>,
}

impl Image {
    /// Of a kernel, in the form in which it is staged, whose hash is `outline`, and an initrd of
    /// which no more than its hash is needed.
    fn new(
        config: &VmConfig,
        kernel: &[u8],
        outline: Outline,
        initrd: Option<Outline>,
    ) -> Result<Self, LaunchError> {
        let path = || config.kernel.display().to_string();
        let image = kernel::recognise(kernel)
            .map_err(|reason| LaunchError::Kernel { path: path(), reason })?;
        // An EFI stub makes the file a PE image. Of an ELF file nothing can be told.
        let bzimage = image.kind == KernelKind::BzImage;
        if config.snp.is_some() && bzimage && !kernel.starts_with(b"MZ") {
            return Err(LaunchError::NoEfiStub { path: path() });
        }
        let len = config.cmdline.len();
        if let Some(most) = image.cmdline_max
            && len as u64 > u64::from(most)
        {
            return Err(LaunchError::CmdlineLimit { len, most });
        }
        Ok(Self {
            config: config.clone(),
            kernel: image,
            kernel_blob: blob(outline),
            initrd_blob: initrd.filter(|initrd| initrd.size > 0).map_or(Blob::default(), blob),
            boot_code: BOOT_CODE.into(),
        })
    }

    /// The same with another release's boot code, to be measured: only this program's own is ever
    /// launched. It must take the parameters of this release (`casemate boot-code show`).
    ///
    /// # Errors
    /// [`LaunchError::BootCode`] when it cannot be a boot code.
    pub fn with_boot_code(self, bytes: Vec<u8>) -> Result<Self, LaunchError> {
        match bytes.len() {
            len if len == 0 || len as u64 > map::BOOT_CODE.size => {
                Err(LaunchError::BootCode { len, most: map::BOOT_CODE.size })
            }
            _ => Ok(Self { boot_code: bytes.into(), ..self }),
        }
    }

    /// The same of files that were read only as far as measuring needs them.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub fn outline(
        config: &VmConfig,
        kernel: &[u8],
        initrd: Option<Outline>,
    ) -> Result<Self, LaunchError> {
        let staged = staged_kernel(config, kernel)?;
        let kernel = staged.as_deref().unwrap_or(kernel);
        Self::new(config, kernel, Outline::of(kernel), initrd)
    }

    /// A plan of the launched pages alone, for `vcpus` vCPUs: to be measured, not to be launched.
    /// Memory has no part in it.
    ///
    /// # Errors
    /// [`LaunchError`].
    pub fn measured(&self, vcpus: u32) -> Result<LaunchPlan, LaunchError> {
        let (params, _) = self.params(vcpus)?;
        self.launched(RamMap::new(map::HIGH_START)?, vcpus, &params)
    }

    /// The parameters, and the ACPI tables that they vouch for.
    fn params(&self, vcpus: u32) -> Result<(Params, Vec<u8>), LaunchError> {
        let tables = acpi::build(map::ACPI.start, vcpus);
        let cmdline = self.config.cmdline.as_bytes();
        let c_bit = self.config.snp.as_ref().map(|snp| snp.c_bit);
        let params = Params {
            mode: if c_bit.is_some() { Mode::Snp } else { Mode::Plain },
            sha_extensions: true,
            c_bit: c_bit.unwrap_or(0),
            report_port: ports::REPORT_PORT,
            mark_port: ports::MARK_PORT,
            rsdp: tables.rsdp,
            kernel_kind: self.kernel.kind,
            kernel_memory: self.kernel.memory,
            initrd_limit: self.kernel.initrd_limit.min(map::ADDRESS_LIMIT),
            kernel: self.kernel_blob,
            initrd: self.initrd_blob,
            cmdline: if cmdline.is_empty() { Blob::default() } else { blob(Outline::of(cmdline)) },
            acpi: blob(Outline::of(&tables.bytes)),
        };
        params.check()?;
        Ok((params, tables.bytes))
    }

    fn launched(
        &self,
        ram: RamMap,
        vcpus: u32,
        params: &Params,
    ) -> Result<LaunchPlan, LaunchError> {
        let boot = BootState {
            rip: map::BOOT_CODE.start,
            rsp: map::SCRATCH.end(),
            rsi: map::PARAMS.start,
            cr3: map::BOOT_TABLE.start,
        };
        let mut plan = LaunchPlan::new(ram, vcpus, boot);
        plan.snp = self.config.snp.clone();
        let table = paging::boot_table(params.c_bit).to_vec();
        let mut code = self.boot_code.to_vec();
        // The build refuses an image that is larger. Every page of its place is launched, so that
        // the boot code needs no word about its own size.
        code.resize(usize::try_from(map::BOOT_CODE.size).unwrap_or(0), 0);
        plan.add_pages(FIRST_TABLE, PageKind::Normal, map::BOOT_TABLE.start, table)?;
        plan.add_pages(PARAMS, PageKind::Normal, map::PARAMS.start, params.encode().to_vec())?;
        if plan.snp.is_some() {
            // Filled at the launch: with what the host's processor has, and by the firmware.
            plan.add_pages("CPUID page", PageKind::Cpuid, map::CPUID.start, Vec::new())?;
            plan.add_pages("secrets page", PageKind::Secrets, map::SECRETS.start, Vec::new())?;
        }
        plan.add_pages("boot code", PageKind::Normal, map::BOOT_CODE.start, code)?;
        Ok(plan)
    }
}

const fn blob(outline: Outline) -> Blob {
    Blob { size: outline.size, sha256: outline.sha256 }
}

fn staged_kernel(config: &VmConfig, kernel: &[u8]) -> Result<Option<Vec<u8>>, LaunchError> {
    kernel::staged(kernel)
        .map_err(|reason| LaunchError::Kernel { path: config.kernel.display().to_string(), reason })
}

/// What the parts of a plan are called.
const FIRST_TABLE: &str = "first page table";
const PARAMS: &str = "parameters";
const MEMORY_MAP: &str = "memory map";

/// Builds the plan. The same configuration and files give the same plan, byte for byte.
///
/// # Errors
/// [`LaunchError`].
pub fn plan(config: &VmConfig, files: Files) -> Result<LaunchPlan, LaunchError> {
    // Large files are hashed once: a bzImage is staged as it is.
    let file = Outline::of(&files.kernel);
    let (kernel, of_kernel) = match staged_kernel(config, &files.kernel)? {
        Some(less) => {
            let outline = Outline::of(&less);
            (less, outline)
        }
        None => (files.kernel, file),
    };
    let initrd = files.initrd.unwrap_or_default();
    let of_initrd = (!initrd.is_empty()).then(|| Outline::of(&initrd));
    let image = Image::new(config, &kernel, of_kernel, of_initrd)?;
    let (params, tables) = image.params(config.vcpus)?;
    let ram = RamMap::new(config.memory)?;
    let memory_map = memory_map(&ram)?;
    let places = params.places(memory_map.ram()).map_err(|_| too_little(&params, &ram))?;
    let mut plan = image.launched(ram, config.vcpus, &params)?;
    plan.files = FileHashes {
        kernel: file.sha256,
        initrd: of_initrd.map_or([0; 32], |outline| outline.sha256),
    };
    plan.shared = vec![
        GpaRange::new(map::HOST_MAP.start, map::HOST_MAP.size)?,
        GpaRange::new(places.window.start, places.window.size)?,
    ];
    plan.stage(MEMORY_MAP, map::HOST_MAP.start, memory_map.encode().to_vec())?;
    let mut stage = |what, place: &Place, bytes: Vec<u8>| match bytes.is_empty() {
        true => Ok(()),
        false => plan.stage(what, place.staged.start, bytes),
    };
    stage("kernel", &places.kernel, kernel)?;
    stage("initrd", &places.initrd, initrd)?;
    stage("command line", &places.cmdline, config.cmdline.clone().into_bytes())?;
    stage("ACPI tables", &places.acpi, tables)?;
    Ok(plan)
}

/// The map that the boot code reads. Of RAM that the hypervisor makes; the guest checks it for
/// itself.
fn memory_map(ram: &RamMap) -> Result<MemoryMap, LaunchError> {
    let mut ranges = Ranges::default();
    for range in ram.ranges() {
        let range = Range { start: range.start(), size: range.size() };
        ranges.push(range).map_err(|_| MapError::Form)?;
    }
    // How many bits an address of the guest has, its processor tells it.
    Ok(MemoryMap::new(ranges, u8::MAX)?)
}

/// Largest memory of a guest, in MiB: what a configuration may ask for.
const MOST_MIB: u64 = 1 << 22;

/// Why there is no room: with the least memory that would do, found by the rule itself.
fn too_little(params: &Params, ram: &RamMap) -> LaunchError {
    let fits = |mib: u64| {
        let map = RamMap::new(mib << 20).ok().and_then(|ram| memory_map(&ram).ok());
        map.is_some_and(|map| params.places(map.ram()).is_ok())
    };
    if !fits(MOST_MIB) {
        let size = params.initrd.size;
        return LaunchError::InitrdLimit { size, last: params.initrd_limit.saturating_sub(1) };
    }
    let (mut too_few, mut enough) = (0, MOST_MIB);
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        if fits(middle) {
            enough = middle;
        } else {
            too_few = middle;
        }
    }
    LaunchError::TooLittle { have: ram.size() >> 20, least: enough }
}
