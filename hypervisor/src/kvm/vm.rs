//! One VM: creation, memory slots, interrupt controllers, irqfds.

use super::{KvmError, SupportedCpuid, Vcpu};
use crate::event::Event;
use crate::launch::cpuid_page;
use crate::memory::GuestRam;
use kvm_bindings::{
    CpuId, KVM_CAP_EXIT_HYPERCALL, KVM_CAP_PMU_CAPABILITY, KVM_CAP_VM_TYPES, KVM_PIT_SPEAKER_DUMMY,
    KVM_PMU_CAP_DISABLE, KVM_X86_SNP_VM, KVM_X86_SW_PROTECTED_VM, kvm_device_attr, kvm_enable_cap,
    kvm_pit_config, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, NoDatamatch, VmFd};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use vmm_sys_util::eventfd::EventFd;

/// What KVM is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmKind {
    /// An ordinary VM (type 0).
    Plain,
    /// An SEV-SNP guest (`KVM_X86_SNP_VM`).
    Snp,
    /// Private memory without protection (`KVM_X86_SW_PROTECTED_VM`): for tests of page states.
    SoftwareProtected,
}

/// Whether KVM offers SEV-SNP VMs: bit 4 of KVM_CAP_VM_TYPES.
///
/// # Errors
/// [`KvmError`] when the descriptor cannot be duplicated.
pub fn offers_snp(dev_kvm: &OwnedFd) -> Result<bool, KvmError> {
    let copy = dev_kvm.try_clone().map_err(|source| KvmError {
        call: "dup",
        what: "/dev/kvm".into(),
        source,
    })?;
    // SAFETY: the descriptor is owned and handed over; if it is not /dev/kvm the ioctl fails.
    let kvm = unsafe { Kvm::from_raw_fd(copy.into_raw_fd()) };
    let types = kvm.check_extension_raw(u64::from(KVM_CAP_VM_TYPES));
    Ok(types > 0 && types & (1 << KVM_X86_SNP_VM) != 0)
}

/// Whether KVM can ask for the certificates of an extended guest request (Linux 7.0).
#[must_use]
pub fn has_certificate_exits(kvm: &Kvm) -> bool {
    let mut value = 0_u64;
    let attribute = kvm_device_attr {
        group: GROUP_SEV,
        attr: ATTRIBUTE_REQ_CERTS,
        addr: (&raw mut value) as u64,
        ..Default::default()
    };
    // SAFETY: the kernel reads the structure and writes eight bytes to `value`; both outlive the
    // call.
    let result =
        unsafe { libc::ioctl(kvm.as_raw_fd(), GET_DEVICE_ATTR as libc::Ioctl, &attribute) };
    result == 0 && value != 0
}

/// Three pages below 4 GiB, outside RAM and every window, that Intel's KVM needs for real mode.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// Bit of KVM_HC_MAP_GPA_RANGE in the argument of KVM_CAP_EXIT_HYPERCALL.
const EXIT_MAP_GPA_RANGE: u64 = 1 << 12;
/// `KVM_GET_DEVICE_ATTR` on /dev/kvm: `_IOW(KVMIO, 0xe2, struct kvm_device_attr)`.
const GET_DEVICE_ATTR: u64 = 0x4018_aee2;
/// `KVM_X86_GRP_SEV`: attributes of KVM about SEV.
const GROUP_SEV: u32 = 1;
/// Whether certificates can be asked for; absent before Linux 7.0.
const ATTRIBUTE_REQ_CERTS: u64 = 2;

/// A virtual machine of KVM: memory slots, interrupt controllers, lines.
#[derive(Debug)]
pub struct Vm {
    kvm: Kvm,
    pub(super) fd: VmFd,
    /// What this host supports, once somebody has asked.
    supported: OnceLock<SupportedCpuid>,
    kind: VmKind,
}

impl Vm {
    /// Creates a VM on an open /dev/kvm. KVM ties it to the calling process's address space.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn create(dev_kvm: OwnedFd, kind: VmKind) -> Result<Self, KvmError> {
        // SAFETY: the descriptor is owned and handed over; whether it is /dev/kvm shows at the
        // first ioctl.
        let kvm = unsafe { Kvm::from_raw_fd(dev_kvm.into_raw_fd()) };
        let (vm_type, what) = match kind {
            VmKind::Plain => (0, "plain VM"),
            VmKind::Snp => (KVM_X86_SNP_VM, "SEV-SNP VM"),
            VmKind::SoftwareProtected => (KVM_X86_SW_PROTECTED_VM, "software-protected VM"),
        };
        let fd = create(&kvm, vm_type).map_err(|e| KvmError::new("KVM_CREATE_VM", what, e))?;
        let vm = Self { kvm, fd, supported: OnceLock::new(), kind };
        if kind != VmKind::Plain {
            // The position of the C-bit is part of it, which the launch begins with.
            vm.supported()?;
        }
        vm.disable_pmu()?;
        Ok(vm)
    }

    /// Takes the performance counters away from the guest, before it has a vCPU.
    ///
    /// That CPUID does not show them is not enough: AMD's first four counters (MSRs c001_0000 to
    /// c001_0007) are older than the bits that announce counters, so KVM serves them to any guest
    /// (`amd_pmu_refresh`, arch/x86/kvm/svm/pmu.c), and they count what happens on the host's core.
    /// A kernel without the capability (before 5.18) leaves them on; `casemate host` names kernels
    /// that are too old.
    ///
    /// Not used, and why: KVM_CAP_X86_BUS_LOCK_EXIT would leave to user space at each split lock,
    /// where the only answer is to wait, for which the locked process has no call; the host slows
    /// split locks by itself (`split_lock_detect`). KVM_CAP_X86_NOTIFY_VMEXIT exists on Intel only;
    /// every SNP host is AMD's.
    fn disable_pmu(&self) -> Result<(), KvmError> {
        let offered = self.kvm.check_extension_raw(u64::from(KVM_CAP_PMU_CAPABILITY));
        let disable = i32::try_from(KVM_PMU_CAP_DISABLE).unwrap_or(0);
        if offered <= 0 || offered & disable == 0 {
            return Ok(());
        }
        let mut cap = kvm_enable_cap { cap: KVM_CAP_PMU_CAPABILITY, ..Default::default() };
        if let Some(argument) = cap.args.first_mut() {
            *argument = u64::from(KVM_PMU_CAP_DISABLE);
        }
        self.fd
            .enable_cap(&cap)
            .map_err(|e| KvmError::new("KVM_ENABLE_CAP", "KVM_CAP_PMU_CAPABILITY", e))
    }

    /// Creates the interrupt controllers in the kernel (local APICs, IOAPIC, PIC) and the PIT,
    /// whose only use is that a stock kernel without TSC deadline timer can calibrate its APIC
    /// timer.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn create_irqchip(&self) -> Result<(), KvmError> {
        if self.kvm.check_extension(Cap::SetTssAddr) {
            self.fd
                .set_tss_address(TSS_ADDRESS)
                .map_err(|e| KvmError::new("KVM_SET_TSS_ADDR", "VM", e))?;
        }
        self.fd.create_irq_chip().map_err(|e| KvmError::new("KVM_CREATE_IRQCHIP", "VM", e))?;
        let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..Default::default() };
        self.fd.create_pit2(pit).map_err(|e| KvmError::new("KVM_CREATE_PIT2", "VM", e))
    }

    /// Makes `ram` the VM's memory, one slot per range.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn add_memory(&self, ram: &GuestRam) -> Result<(), KvmError> {
        for (slot, (range, host)) in (0..).zip(ram.host_ranges()) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: range.start(),
                memory_size: range.size(),
                userspace_addr: host,
            };
            // SAFETY: `host..host + size` is a mapping that `ram` owns; `vm::vmm` keeps `ram` until
            // the process ends, and no other slot has this number or these guest addresses.
            unsafe { self.fd.set_user_memory_region(region) }.map_err(|e| {
                KvmError::new("KVM_SET_USER_MEMORY_REGION", format!("{range:?}"), e)
            })?;
        }
        Ok(())
    }

    /// Creates vCPU `id`.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn create_vcpu(&self, id: u32) -> Result<Vcpu, KvmError> {
        let fd = self
            .fd
            .create_vcpu(u64::from(id))
            .map_err(|e| KvmError::new("KVM_CREATE_VCPU", format!("vCPU {id}"), e))?;
        let run_size = self
            .kvm
            .get_vcpu_mmap_size()
            .map_err(|e| KvmError::new("KVM_GET_VCPU_MMAP_SIZE", "host", e))?;
        Ok(Vcpu::new(fd, run_size))
    }

    /// Takes over what another process of this host was told of CPUID, unless KVM was asked
    /// already.
    pub fn know_supported(&self, supported: SupportedCpuid) {
        let _ = self.supported.set(supported);
    }

    fn supported(&self) -> Result<&SupportedCpuid, KvmError> {
        if let Some(known) = self.supported.get() {
            return Ok(known);
        }
        let asked = SupportedCpuid::asked(&self.kvm)?;
        Ok(self.supported.get_or_init(|| asked))
    }

    /// The CPUID of vCPU `id` of `vcpus`.
    ///
    /// # Errors
    /// [`KvmError`] when KVM does not tell, or it has more entries than KVM takes.
    pub fn cpuid(&self, id: u32, vcpus: u32) -> Result<CpuId, KvmError> {
        let mut entries = super::cpuid::for_vcpu(self.supported()?.table(), id, vcpus);
        if self.kind == VmKind::Snp {
            entries = cpuid_page::filter(&entries);
        }
        CpuId::from_entries(&entries).map_err(|_| {
            let e = kvm_ioctls::Error::new(libc::E2BIG);
            KvmError::new("building CPUID", format!("vCPU {id}"), e)
        })
    }

    /// Gives vCPU `id` of `vcpus` its CPUID, and the MSRs that firmware would have set.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn equip(&self, vcpu: &Vcpu, id: u32, vcpus: u32) -> Result<(), KvmError> {
        vcpu.set_cpuid(id, &self.cpuid(id, vcpus)?)?;
        vcpu.set_msrs()
    }

    /// Position of the C-bit, where the host has one.
    ///
    /// # Errors
    /// [`KvmError`] when KVM does not tell.
    pub fn c_bit(&self) -> Result<Option<u8>, KvmError> {
        Ok(cpuid_page::c_bit(self.supported()?.table().as_slice()))
    }

    /// Lets a guest's page-state changes (KVM_HC_MAP_GPA_RANGE) leave to user space.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn exit_on_page_state_changes(&self) -> Result<(), KvmError> {
        let mut cap = kvm_enable_cap { cap: KVM_CAP_EXIT_HYPERCALL, ..Default::default() };
        if let Some(argument) = cap.args.first_mut() {
            *argument = EXIT_MAP_GPA_RANGE;
        }
        self.fd
            .enable_cap(&cap)
            .map_err(|e| KvmError::new("KVM_ENABLE_CAP", "KVM_CAP_EXIT_HYPERCALL", e))
    }

    /// Whether KVM can ask for the certificates of an extended guest request (Linux 7.0).
    pub(super) fn has_certificate_exits(&self) -> bool {
        has_certificate_exits(&self.kvm)
    }

    /// Raises interrupt line `gsi` whenever `event` is signalled.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn add_irqfd(&self, event: &Event, gsi: u32) -> Result<(), KvmError> {
        self.fd
            .register_irqfd(&eventfd(event), gsi)
            .map_err(|e| KvmError::new("KVM_IRQFD", format!("GSI {gsi}"), e))
    }

    /// Signals `event` at every write to the port or address, inside the kernel.
    ///
    /// # Errors
    /// [`KvmError`].
    pub fn add_ioeventfd(&self, event: &Event, address: &IoEventAddress) -> Result<(), KvmError> {
        self.fd
            .register_ioevent(&eventfd(event), address, NoDatamatch)
            .map_err(|e| KvmError::new("KVM_IOEVENTFD", "doorbell", e))
    }

    /// The VM's descriptor, for a sandbox profile.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Tries of a creation that a signal interrupted, as a busy host's may be.
const TRIES: u32 = 100;

fn create(kvm: &Kvm, vm_type: u32) -> Result<VmFd, kvm_ioctls::Error> {
    let mut tries = 1;
    loop {
        match kvm.create_vm_with_type(u64::from(vm_type)) {
            Err(e) if e.errno() == libc::EINTR && tries < TRIES => tries += 1,
            done => return done,
        }
    }
}

/// The same descriptor as the type kvm-ioctls takes.
fn eventfd(event: &Event) -> ManuallyDrop<EventFd> {
    // SAFETY: the descriptor is an open eventfd that `event` keeps; ManuallyDrop leaves closing it
    // to `event`, and every use here ends before the borrow of `event` does.
    ManuallyDrop::new(unsafe { EventFd::from_raw_fd(event.as_fd().as_raw_fd()) })
}
