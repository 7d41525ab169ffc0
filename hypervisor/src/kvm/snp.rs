//! SEV-SNP through KVM: INIT2, private memory, LAUNCH_START, LAUNCH_UPDATE, LAUNCH_FINISH.
//!
//! Order and structures: Linux `Documentation/virt/kvm/x86/amd-memory-encryption.rst`; the structures are
//! kvm-bindings', whose sizes are asserted there. Quirks handled: short success (loop until nothing is left),
//! page-aligned sources (newer kernels refuse others), a writable source for the CPUID page (the firmware's
//! corrected table comes back in it), and SNP_ACTIVE, which KVM adds by itself.

use super::firmware::{FirmwareError, LaunchPhase};
use super::{KvmError, Vm};
use crate::launch::cpuid_page::CpuidTable;
use crate::launch::issue::LaunchTarget;
use crate::launch::snp::SnpLaunch;
use crate::launch::{LaunchPlan, PageKind};
use crate::memory::{GpaRange, GuestRam, PAGE_BYTES, PAGE_SIZE};
use kvm_bindings::{
    KVM_CAP_EXIT_HYPERCALL, KVM_MEM_GUEST_MEMFD, KVM_MEMORY_ATTRIBUTE_PRIVATE,
    kvm_create_guest_memfd, kvm_enable_cap, kvm_memory_attributes, kvm_sev_cmd, kvm_sev_init,
    kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start, kvm_sev_snp_launch_update,
    kvm_userspace_memory_region2, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// `KVM_MEMORY_ENCRYPT_OP` of the SNP page types.
fn page_type(kind: PageKind) -> u8 {
    match kind {
        PageKind::Normal => 1,
        PageKind::Zero => 3,
        PageKind::Unmeasured => 4,
        PageKind::Secrets => 5,
        PageKind::Cpuid => 6,
    }
}

/// Bit of KVM_HC_MAP_GPA_RANGE in the argument of KVM_CAP_EXIT_HYPERCALL.
const EXIT_MAP_GPA_RANGE: u64 = 1 << 12;
/// Tries of an interrupted or busy command.
const TRIES: u32 = 100;

/// Why an SNP launch failed.
#[derive(Debug, thiserror::Error)]
pub enum SnpError {
    /// An ordinary KVM call.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// A launch command.
    #[error("{0}")]
    Firmware(#[from] FirmwareError),
    /// The firmware does not accept the CPUID table; nothing is launched with the table it would prefer.
    #[error("the firmware refuses the CPUID table: {0}")]
    Cpuid(String),
    /// The host's C-bit is not the one that the launch was measured with.
    #[error(
        "the C-bit of this host is {host}, the launch is for {planned}: set `snp.c_bit = {host}`"
    )]
    CBit {
        /// The host's.
        host: u8,
        /// The plan's.
        planned: u8,
    },
}

/// One page at a page boundary: what the kernel reads from and, for CPUID, writes back to.
#[repr(C, align(4096))]
struct Page([u8; PAGE_BYTES]);

/// A VM of type 4 whose launch is under way.
#[derive(Debug)]
pub struct SnpVm {
    vm: Arc<Vm>,
    /// Kept open, under this number, as long as the VM: KVM stores the number and uses it for guest requests.
    dev_sev: OwnedFd,
}

impl SnpVm {
    /// Initialises a VM for SNP, before any vCPU, and lets page-state changes exit.
    ///
    /// # Errors
    /// [`SnpError`].
    pub fn init(vm: Arc<Vm>, dev_sev: OwnedFd, vmsa_features: u64) -> Result<Self, SnpError> {
        let snp = Self { vm, dev_sev };
        // KVM adds SNP_ACTIVE (bit 0) by itself and refuses it from us.
        let mut init = kvm_sev_init { vmsa_features: vmsa_features & !1, ..Default::default() };
        snp.command(LaunchPhase::Init, None, sev_cmd_id_KVM_SEV_INIT2, &mut init)?;
        let mut cap = kvm_enable_cap { cap: KVM_CAP_EXIT_HYPERCALL, ..Default::default() };
        if let Some(argument) = cap.args.first_mut() {
            *argument = EXIT_MAP_GPA_RANGE;
        }
        snp.vm
            .fd
            .enable_cap(&cap)
            .map_err(|e| KvmError::new("KVM_ENABLE_CAP", "KVM_CAP_EXIT_HYPERCALL", e))?;
        Ok(snp)
    }

    /// Gives the VM `ram`: the shared side is its mapping, the private side a guest_memfd per range, and all of it is
    /// private but `shared`.
    ///
    /// # Errors
    /// [`SnpError`].
    pub fn add_memory(
        &self,
        ram: &GuestRam,
        shared: &[GpaRange],
    ) -> Result<PrivateMemory, SnpError> {
        let mut slots = Vec::new();
        for (slot, (range, host)) in (0..).zip(ram.host_ranges()) {
            let gmem = self.guest_memfd(range.size())?;
            let region = kvm_userspace_memory_region2 {
                slot,
                flags: KVM_MEM_GUEST_MEMFD,
                guest_phys_addr: range.start(),
                memory_size: range.size(),
                userspace_addr: host,
                guest_memfd: gmem.as_raw_fd().cast_unsigned(),
                ..Default::default()
            };
            // SAFETY: `host..host + size` is a mapping that `ram` owns, and `ram` lives as long as the process's VM.
            unsafe { self.vm.fd.set_user_memory_region2(region) }.map_err(|e| {
                KvmError::new("KVM_SET_USER_MEMORY_REGION2", format!("{range:?}"), e)
            })?;
            slots.push((range, gmem));
        }
        let memory = PrivateMemory { vm: self.vm.clone(), slots: Arc::new(slots) };
        for (range, _) in memory.slots.iter() {
            memory.set_private(*range, true).map_err(|e| attribute_error(*range, e))?;
        }
        for range in shared {
            memory.set_private(*range, false).map_err(|e| attribute_error(*range, e))?;
        }
        Ok(memory)
    }

    fn guest_memfd(&self, size: u64) -> Result<OwnedFd, KvmError> {
        let fd = self
            .vm
            .fd
            .create_guest_memfd(kvm_create_guest_memfd { size, ..Default::default() })
            .map_err(|e| KvmError::new("KVM_CREATE_GUEST_MEMFD", format!("{size} bytes"), e))?;
        // SAFETY: the ioctl has just made the descriptor, and nobody else has it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn update_page(&self, gpa: u64, kind: PageKind, page: &mut Page) -> Result<(), FirmwareError> {
        let mut update = kvm_sev_snp_launch_update {
            gfn_start: gpa / PAGE_SIZE,
            uaddr: (&raw mut page.0) as u64,
            len: PAGE_SIZE,
            type_: page_type(kind),
            ..Default::default()
        };
        let about = Some((gpa, kind.name()));
        // A call may do less than it was asked for and say so in the structure.
        for _ in 0..TRIES {
            self.command(
                LaunchPhase::Update,
                about,
                sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
                &mut update,
            )?;
            if update.len == 0 {
                return Ok(());
            }
        }
        Err(FirmwareError {
            phase: LaunchPhase::Update,
            page: about,
            errno: libc::EAGAIN,
            status: 0,
        })
    }

    /// One command; interrupted and busy ones are tried again a bounded number of times.
    fn command<T>(
        &self,
        phase: LaunchPhase,
        page: Option<(u64, &'static str)>,
        id: u32,
        data: &mut T,
    ) -> Result<(), FirmwareError> {
        let mut tries = 0;
        loop {
            let mut command = kvm_sev_cmd {
                id,
                data: (data as *mut T) as u64,
                sev_fd: self.dev_sev.as_raw_fd().cast_unsigned(),
                ..Default::default()
            };
            let Err(e) = self.vm.fd.encrypt_op_sev(&mut command) else { return Ok(()) };
            tries += 1;
            if !matches!(e.errno(), libc::EAGAIN | libc::EINTR) || tries >= TRIES {
                return Err(FirmwareError { phase, page, errno: e.errno(), status: command.error });
            }
        }
    }
}

impl LaunchTarget for &SnpVm {
    type Error = SnpError;

    fn start(&mut self, launch: &SnpLaunch) -> Result<(), SnpError> {
        let mut start = kvm_sev_snp_launch_start { policy: launch.policy, ..Default::default() };
        let id = sev_cmd_id_KVM_SEV_SNP_LAUNCH_START;
        Ok(self.command(LaunchPhase::Start, None, id, &mut start)?)
    }

    fn page(
        &mut self,
        gpa: u64,
        kind: PageKind,
        _: &'static str,
        contents: &[u8; PAGE_BYTES],
    ) -> Result<(), SnpError> {
        let mut page = Box::new(Page(*contents));
        match self.update_page(gpa, kind, &mut page) {
            // The firmware has put what it would accept into the source.
            Err(e) if kind == PageKind::Cpuid && e.status == INVALID_PARAM => {
                Err(SnpError::Cpuid(CpuidTable::differences(contents, &page.0)))
            }
            other => Ok(other?),
        }
    }

    /// KVM measures the state of every vCPU that there is, and the guest can run.
    fn finish(&mut self, _: &LaunchPlan, launch: &SnpLaunch) -> Result<(), SnpError> {
        let mut finish = kvm_sev_snp_launch_finish {
            host_data: launch.host_data,
            vcek_disabled: u8::from(launch.vcek_disabled),
            ..Default::default()
        };
        if let Some(id) = &launch.id {
            finish.id_block_en = 1;
            finish.id_block_uaddr = id.block.as_ptr() as u64;
            finish.id_auth_uaddr = id.auth.as_ptr() as u64;
            finish.auth_key_en = u8::from(launch.author_key_enabled);
        }
        let id = sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH;
        Ok(self.command(LaunchPhase::Finish, None, id, &mut finish)?)
    }
}

/// `SEV_RET_INVALID_PARAM`.
const INVALID_PARAM: u32 = 0x16;

fn attribute_error(range: GpaRange, errno: i32) -> KvmError {
    KvmError::new("KVM_SET_MEMORY_ATTRIBUTES", format!("{range:?}"), kvm_ioctls::Error::new(errno))
}

/// The private side of guest memory.
#[derive(Debug, Clone)]
pub struct PrivateMemory {
    vm: Arc<Vm>,
    slots: Arc<Vec<(GpaRange, OwnedFd)>>,
}

impl PrivateMemory {
    /// Sets what KVM believes of every page of `range`.
    ///
    /// # Errors
    /// The errno.
    pub fn set_private(&self, range: GpaRange, private: bool) -> Result<(), i32> {
        let attributes = if private { u64::from(KVM_MEMORY_ATTRIBUTE_PRIVATE) } else { 0 };
        let attributes = kvm_memory_attributes {
            address: range.start(),
            size: range.size(),
            attributes,
            flags: 0,
        };
        for _ in 0..TRIES {
            match self.vm.fd.set_memory_attributes(attributes) {
                Ok(()) => return Ok(()),
                Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => {}
                Err(e) => return Err(e.errno()),
            }
        }
        Err(libc::EAGAIN)
    }

    /// Each slot's range with the guest_memfd behind it, whose offset 0 is the range's start.
    #[must_use]
    pub fn slots(&self) -> &[(GpaRange, OwnedFd)] {
        &self.slots
    }

    /// The guest_memfds' descriptors, for a sandbox profile.
    #[must_use]
    pub fn files(&self) -> Vec<RawFd> {
        self.slots.iter().map(|(_, gmem)| gmem.as_raw_fd()).collect()
    }
}
