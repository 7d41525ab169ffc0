//! SEV-SNP through KVM: INIT2, private memory, LAUNCH_START, LAUNCH_UPDATE, LAUNCH_FINISH.
//!
//! Order and structures: Linux `Documentation/virt/kvm/x86/amd-memory-encryption.rst`; the
//! structures are kvm-bindings', whose sizes are asserted there. Quirks handled: short success
//! (loop until nothing is left), page-aligned sources (newer kernels refuse others), a writable
//! source for the CPUID page (the firmware's corrected table comes back in it), and SNP_ACTIVE,
//! which KVM adds by itself.

use super::firmware::{FirmwareError, LaunchPhase};
use super::{KvmError, Vm};
use crate::config::SnpLaunch;
use crate::launch::cpuid_page::CpuidTable;
use crate::launch::issue::LaunchTarget;
use crate::launch::{LaunchPlan, PageKind, SnpShape};
use crate::memory::{PAGE_BYTES, PAGE_SIZE};
use kvm_bindings::{
    kvm_sev_cmd, kvm_sev_init, kvm_sev_snp_launch_finish, kvm_sev_snp_launch_start,
    kvm_sev_snp_launch_update, sev_cmd_id_KVM_SEV_INIT2, sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH,
    sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE,
};
use std::os::fd::{AsRawFd, OwnedFd};
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

/// `KVM_SEV_SNP_ENABLE_REQ_CERTS` (Linux 7.0), which kvm-bindings does not have yet. It takes no
/// data.
const ENABLE_REQ_CERTS: u32 = 103;
/// Tries of an interrupted or busy command.
const TRIES: u32 = 100;

/// Why an SNP launch failed.
#[derive(Debug, thiserror::Error)]
pub enum SnpError {
    /// An ordinary KVM call.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// KVM or the firmware refused a command of the launch.
    #[error("{0}")]
    Firmware(#[from] FirmwareError),
    /// Certificates are to be given, and this kernel cannot ask for them.
    #[error(
        "`snp.certs`: this host's KVM never asks for certificates (Linux 7.0 does): leave `snp.certs` out"
    )]
    NoCertificateExits,
    /// The firmware does not accept the CPUID table; nothing is launched with the table it would
    /// prefer.
    #[error("the firmware refuses the CPUID table: {0}")]
    Cpuid(String),
    /// The host's C-bit is not the one that the launch was measured with.
    #[error(
        "the C-bit of this host is {host}, the launch is for {planned}: set `snp.c_bit = {host}`"
    )]
    CBit {
        /// Where this host has the C-bit.
        host: u8,
        /// Where the measured plan has it.
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
    /// Kept open, under this number, as long as the VM: KVM stores the number and uses it for guest
    /// requests.
    dev_sev: OwnedFd,
}

impl SnpVm {
    /// The descriptor of /dev/sev, by whose number the firmware's commands name it.
    #[must_use]
    pub fn sev_fd(&self) -> std::os::fd::RawFd {
        self.dev_sev.as_raw_fd()
    }

    /// Initialises a VM for SNP, before any vCPU, and lets page-state changes exit, and requests
    /// for certificates when there are some to give.
    ///
    /// # Errors
    /// [`SnpError`].
    pub fn init(vm: Arc<Vm>, dev_sev: OwnedFd, shape: SnpShape) -> Result<Self, SnpError> {
        let snp = Self { vm, dev_sev };
        // KVM adds SNP_ACTIVE (bit 0) by itself and refuses it from us.
        let vmsa_features = shape.vmsa_features & !1;
        let mut init = kvm_sev_init { vmsa_features, ..Default::default() };
        snp.command(LaunchPhase::Init, None, sev_cmd_id_KVM_SEV_INIT2, &mut init)?;
        if shape.certs {
            if !snp.vm.has_certificate_exits() {
                return Err(SnpError::NoCertificateExits);
            }
            snp.command(LaunchPhase::Certificates, None, ENABLE_REQ_CERTS, &mut ())?;
        }
        snp.vm.exit_on_page_state_changes()?;
        Ok(snp)
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
                data: if size_of::<T>() == 0 { 0 } else { (data as *mut T) as u64 },
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

/// `SEV_RET_INVALID_PARAM`: of a CPUID page, that it has a value which the firmware corrects.
const INVALID_PARAM: u32 = 0x16;
