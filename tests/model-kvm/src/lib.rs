//! A MODEL of KVM and of the security processor, behind libc's `ioctl`, which this file replaces in
//! its test program.
//!
//! It writes down every call, field by field, answers as Linux 6.12 does where a launch depends on
//! the answer, and fails where a test says so. No guest runs in it. Descriptors are memory files,
//! so what a launch leaves open is seen in /proc.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::too_many_lines,
    reason = "a replacement of ioctl reads what its caller points to"
)]
#![allow(missing_docs, missing_debug_implementations, reason = "test code: names say it")]

mod words;

use casemate_hypervisor::vm::engine::HostFds;
use kvm_bindings as kvm;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{c_int, c_ulong, c_void};
use std::fmt::Write as _;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

macro_rules! requests {
    ($($name:ident = $number:literal),* $(,)?) => {
        $(const $name: u32 = $number;)*
        /// Every request that a launch and a running confidential VM make. `kvm_abi` compares them
        /// with the kernel's headers.
        pub const REQUESTS: &[(&str, u32)] = &[$((stringify!($name), $name)),*];
    };
}

requests! {
    KVM_CREATE_VM = 0xae01, KVM_CHECK_EXTENSION = 0xae03, KVM_GET_VCPU_MMAP_SIZE = 0xae04,
    KVM_GET_SUPPORTED_CPUID = 0xc008_ae05, KVM_CREATE_VCPU = 0xae41, KVM_SET_TSS_ADDR = 0xae47,
    KVM_SET_USER_MEMORY_REGION2 = 0x40a0_ae49, KVM_CREATE_IRQCHIP = 0xae60, KVM_IRQFD = 0x4020_ae76,
    KVM_CREATE_PIT2 = 0x4040_ae77, KVM_RUN = 0xae80, KVM_SET_REGS = 0x4090_ae82,
    KVM_GET_SREGS = 0x8138_ae83, KVM_SET_SREGS = 0x4138_ae84, KVM_SET_MSRS = 0x4008_ae89,
    KVM_SET_CPUID2 = 0x4008_ae90, KVM_SET_MP_STATE = 0x4004_ae99, KVM_ENABLE_CAP = 0x4068_aea3,
    KVM_MEMORY_ENCRYPT_OP = 0xc008_aeba, KVM_SET_MEMORY_ATTRIBUTES = 0x4020_aed2,
    KVM_CREATE_GUEST_MEMFD = 0xc040_aed4, KVM_GET_DEVICE_ATTR = 0x4018_aee2,
    KVM_HAS_DEVICE_ATTR = 0x4018_aee3,
}

/// One call as the kernel was told.
#[derive(Debug, Clone)]
pub struct Call {
    /// The request, or the launch command.
    pub name: &'static str,
    /// All fields, a line for each structure within.
    pub text: String,
    /// The page of a LAUNCH_UPDATE: address, firmware's type, contents.
    pub page: Option<(u64, u8, Vec<u8>)>,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This errno; nothing is done.
    Errno(i32),
    /// EIO, and this status of the firmware.
    Firmware(u32),
    /// A launch command returns success having done nothing.
    Short,
}

/// Where it fails: at the call with this index, or from there on at every call of its name.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub at: usize,
    pub forever: bool,
    pub fault: Fault,
}

/// Registers of a vCPU as KVM has them.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    pub sregs: kvm::kvm_sregs,
    pub regs: kvm::kvm_regs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum File {
    Kvm,
    Sev,
    Vm,
    Vcpu(usize),
    Gmem(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Created,
    Initialised,
    Started,
    Finished,
}

/// What KVM knows, and what it was told.
#[derive(Debug, Default)]
pub struct Model {
    files: BTreeMap<c_int, File>,
    pub calls: Vec<Call>,
    pub vcpus: Vec<Registers>,
    pub features: u64,
    fail: Option<Plan>,
    failing: Option<&'static str>,
    stage: Stage,
    /// Start, end, whether private; the last that covers a page counts.
    attributes: Vec<(u64, u64, bool)>,
    launched: BTreeSet<u64>,
    gmems: usize,
    /// Whether this is a KVM that asks for certificates (Linux 7.0).
    pub certificate_exits: bool,
    /// What the firmware would have had in the CPUID page instead of what it got.
    pub cpuid_correction: Option<Vec<u8>>,
}

static MODEL: Mutex<Option<Model>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The model in use by one test.
pub struct InUse(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

/// A fresh model, for this test alone.
pub fn start(fail: Option<Plan>) -> InUse {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    restart(fail);
    InUse(guard)
}

fn restart(fail: Option<Plan>) {
    *MODEL.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(Model { fail, ..Model::default() });
}

impl InUse {
    /// Forgets everything.
    pub fn again(&self, fail: Option<Plan>) {
        restart(fail);
    }

    /// Device files as `casemate run` would have opened them.
    pub fn host_fds(&self) -> HostFds {
        let mut model = MODEL.lock().unwrap();
        let model = model.as_mut().unwrap();
        let mut open = |file| {
            let fd = memory_file("MODEL-device", 4096);
            model.files.insert(fd.as_raw_fd(), file);
            fd
        };
        HostFds { dev_kvm: open(File::Kvm), dev_sev: Some(open(File::Sev)) }
    }

    /// Looks at the model.
    pub fn with<T>(&self, look: impl FnOnce(&mut Model) -> T) -> T {
        look(MODEL.lock().unwrap().as_mut().unwrap())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        *MODEL.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn memory_file(name: &str, size: u64) -> OwnedFd {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&fd, size).unwrap();
    fd
}

/// libc's `ioctl`, in this program.
///
/// # Safety
/// As libc's: `argument` is what `request` asks for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    let mut model = MODEL.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = match model.as_mut() {
        Some(model) if model.files.contains_key(&fd) => model.answer(fd, request as u32, argument),
        _ => {
            // SAFETY: the caller's promise.
            return unsafe { libc::syscall(libc::SYS_ioctl, fd, request, argument) } as c_int;
        }
    };
    match answer {
        Ok(value) => value,
        Err(errno) => {
            // SAFETY: errno of this thread.
            unsafe { *libc::__errno_location() = errno };
            -1
        }
    }
}

/// What the caller points to.
fn at<'a, T>(argument: *mut c_void) -> &'a mut T {
    // SAFETY: requests are answered by number, and their argument has the type that the kernel's
    // header gives it.
    unsafe { &mut *argument.cast::<T>() }
}

/// `count` values behind a header of the kind that ends in a flexible array.
fn tail<'a, H, T>(argument: *mut c_void, count: u32) -> &'a mut [T] {
    // SAFETY: as in `at`; the header says how many follow.
    unsafe {
        std::slice::from_raw_parts_mut(argument.cast::<H>().add(1).cast::<T>(), count as usize)
    }
}

/// `KVM_SEV_SNP_ENABLE_REQ_CERTS` (Linux 7.0).
const ENABLE_REQ_CERTS: u32 = 103;

const NUMBER_NAMES: [(u32, &str); 5] = [
    (ENABLE_REQ_CERTS, "KVM_SEV_SNP_ENABLE_REQ_CERTS"),
    (kvm::sev_cmd_id_KVM_SEV_INIT2, "KVM_SEV_INIT2"),
    (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, "SNP_LAUNCH_START"),
    (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE, "SNP_LAUNCH_UPDATE"),
    (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, "SNP_LAUNCH_FINISH"),
];

impl Model {
    fn name(&self, fd: u32) -> String {
        match self.files.get(&(fd as c_int)) {
            Some(File::Kvm) => "kvm".into(),
            Some(File::Sev) => "sev".into(),
            Some(File::Vm) => "vm".into(),
            Some(File::Vcpu(id)) => format!("vcpu{id}"),
            Some(File::Gmem(id)) => format!("gmem{id}"),
            None => "another".into(),
        }
    }

    fn new_file(&mut self, file: File, size: u64) -> c_int {
        let fd = memory_file("MODEL-kvm", size).into_raw_fd();
        self.files.insert(fd, file);
        fd
    }

    fn answer(&mut self, fd: c_int, request: u32, argument: *mut c_void) -> Result<c_int, i32> {
        let known = REQUESTS.iter().find(|(_, number)| *number == request);
        let mut name = known.map_or("a request that is not in the table", |(name, _)| name);
        if request == KVM_MEMORY_ENCRYPT_OP {
            let id = at::<kvm::kvm_sev_cmd>(argument).id;
            name = NUMBER_NAMES.iter().find(|(n, _)| *n == id).map_or("unknown", |(_, name)| name);
        }
        let file = self.name(fd as u32);
        let (mut text, page) = self.describe(request, argument);
        text.insert_str(0, &format!("{file} {name}"));
        let index = self.calls.len();
        self.calls.push(Call { name, text, page });
        if let Some(plan) = self.fail
            && (plan.at == index || (plan.forever && self.failing == Some(name)))
        {
            self.failing = Some(name);
            return self.fail_with(plan.fault, request, argument);
        }
        self.serve(fd, request, argument)
    }

    /// The registers of the vCPU that a descriptor is of.
    fn vcpu(&mut self, fd: c_int) -> Result<&mut Registers, i32> {
        match self.files.get(&fd) {
            Some(File::Vcpu(id)) => self.vcpus.get_mut(*id).ok_or(libc::EINVAL),
            _ => Err(libc::ENOTTY),
        }
    }

    fn fail_with(
        &mut self,
        fault: Fault,
        request: u32,
        argument: *mut c_void,
    ) -> Result<c_int, i32> {
        match fault {
            Fault::Errno(errno) => Err(errno),
            Fault::Short => Ok(0),
            Fault::Firmware(status) => {
                assert_eq!(request, KVM_MEMORY_ENCRYPT_OP, "only these ask the firmware");
                let command = at::<kvm::kvm_sev_cmd>(argument);
                command.error = status;
                // Linux puts the table that the firmware would accept into the source
                // (sev_gmem_post_populate).
                if let Some(table) = &self.cpuid_correction
                    && command.id == kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE
                {
                    let update = at::<kvm::kvm_sev_snp_launch_update>(command.data as *mut c_void);
                    at::<[u8; 4096]>(update.uaddr as *mut c_void).copy_from_slice(table);
                }
                Err(libc::EIO)
            }
        }
    }
}

impl Model {
    /// Fails at another place from now on.
    pub fn fail_at(&mut self, plan: Plan) {
        self.fail = Some(plan);
    }

    fn is_private(&self, gpa: u64) -> bool {
        let covers = |(start, end, _): &&(u64, u64, bool)| (*start..*end).contains(&gpa);
        self.attributes.iter().rev().find(covers).is_some_and(|(_, _, private)| *private)
    }

    /// Does it, with the checks that Linux makes of a launch's order.
    fn serve(&mut self, fd: c_int, request: u32, argument: *mut c_void) -> Result<c_int, i32> {
        let vcpu = self.vcpus.len();
        match request {
            KVM_CREATE_VM => Ok(self.new_file(File::Vm, 4096)),
            KVM_CHECK_EXTENSION => match argument as u64 {
                4 => Ok(1),      // KVM_CAP_SET_TSS_ADDR
                212 => Ok(1),    // KVM_CAP_PMU_CAPABILITY: KVM_PMU_CAP_DISABLE
                235 => Ok(0x11), // KVM_CAP_VM_TYPES: plain and SNP
                _ => Ok(0),
            },
            KVM_GET_VCPU_MMAP_SIZE => Ok(0x3000),
            KVM_GET_SUPPORTED_CPUID => {
                let header = at::<kvm::kvm_cpuid2>(argument);
                let entries = tail::<kvm::kvm_cpuid2, kvm::kvm_cpuid_entry2>(argument, header.nent);
                entries[..CPUID.len()].copy_from_slice(&CPUID.map(leaf));
                header.nent = CPUID.len() as u32;
                Ok(0)
            }
            KVM_CREATE_VCPU => {
                self.vcpus.push(Registers { sregs: reset_sregs(), regs: reset_regs() });
                Ok(self.new_file(File::Vcpu(vcpu), 0x3000))
            }
            KVM_CREATE_GUEST_MEMFD => {
                self.gmems += 1;
                let size = at::<kvm::kvm_create_guest_memfd>(argument).size;
                Ok(self.new_file(File::Gmem(self.gmems - 1), size))
            }
            KVM_GET_SREGS => {
                *at::<kvm::kvm_sregs>(argument) = self.vcpu(fd)?.sregs;
                Ok(0)
            }
            KVM_SET_SREGS => {
                self.vcpu(fd)?.sregs = *at::<kvm::kvm_sregs>(argument);
                Ok(0)
            }
            KVM_SET_REGS => {
                self.vcpu(fd)?.regs = *at::<kvm::kvm_regs>(argument);
                Ok(0)
            }
            KVM_SET_MSRS => Ok(at::<kvm::kvm_msrs>(argument).nmsrs as c_int),
            KVM_SET_MEMORY_ATTRIBUTES => {
                let a = at::<kvm::kvm_memory_attributes>(argument);
                self.attributes.push((a.address, a.address + a.size, a.attributes != 0));
                Ok(0)
            }
            KVM_MEMORY_ENCRYPT_OP => self.serve_command(argument),
            KVM_GET_DEVICE_ATTR if self.certificate_exits => {
                let a = at::<kvm::kvm_device_attr>(argument);
                *at::<u64>(a.addr as *mut c_void) = 1;
                Ok(0)
            }
            KVM_HAS_DEVICE_ATTR | KVM_GET_DEVICE_ATTR => Err(libc::ENXIO),
            _ if REQUESTS.iter().any(|(_, number)| *number == request) => Ok(0),
            _ => Err(libc::ENOTTY),
        }
    }

    /// Linux 6.12 arch/x86/kvm/svm/sev.c: `sev_mem_enc_ioctl` and what it calls.
    fn serve_command(&mut self, argument: *mut c_void) -> Result<c_int, i32> {
        let command = at::<kvm::kvm_sev_cmd>(argument);
        let data = command.data as *mut c_void;
        if self.files.get(&(command.sev_fd as c_int)) != Some(&File::Sev) {
            return Err(libc::EBADF);
        }
        let next = match (command.id, self.stage) {
            (kvm::sev_cmd_id_KVM_SEV_INIT2, Stage::Created) if self.vcpus.is_empty() => {
                let init = at::<kvm::kvm_sev_init>(data);
                if init.vmsa_features & !(1 << 5) != 0 || init.flags != 0 {
                    return Err(libc::EINVAL);
                }
                self.features = init.vmsa_features | 1;
                Stage::Initialised
            }
            (ENABLE_REQ_CERTS, Stage::Initialised)
                if self.certificate_exits && self.vcpus.is_empty() =>
            {
                Stage::Initialised
            }
            (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_START, Stage::Initialised) => {
                let policy = at::<kvm::kvm_sev_snp_launch_start>(data).policy;
                // SMT and the reserved bit must be set, single socket clear (6.12).
                if policy & 0x3_0000 != 0x3_0000 || policy & !0xb_ffff != 0 {
                    return Err(libc::EINVAL);
                }
                Stage::Started
            }
            (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE, Stage::Started) => {
                let update = at::<kvm::kvm_sev_snp_launch_update>(data);
                let gpa = update.gfn_start << 12;
                let known = matches!(update.type_, 1 | 3 | 4 | 5 | 6);
                if !known || update.flags != 0 || update.len == 0 || update.uaddr & 0xfff != 0 {
                    return Err(libc::EINVAL);
                }
                // A page that is not private, or was launched before, fails inside
                // kvm_gmem_populate.
                if !self.is_private(gpa) || !self.launched.insert(gpa) {
                    return Err(libc::EIO);
                }
                update.gfn_start += 1;
                update.uaddr += 4096;
                update.len -= 4096;
                Stage::Started
            }
            (kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH, Stage::Started) => Stage::Finished,
            _ => return Err(libc::EINVAL),
        };
        self.stage = next;
        Ok(0)
    }
}

/// Leaf, subleaf and registers of the MODEL's processor.
const CPUID: [[u32; 6]; 9] = [
    [0, 0, 0xd, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
    [1, 0, 0x00a0_0f11, 0x0800, 0xfed8_3203, 0x178b_fbff],
    [7, 0, 0, 0x219c_97ab, 0x0040_069c, 0xac00_0010],
    [0xd, 0, 7, 0x340, 0x340, 0],
    [0xd, 1, 0xf, 0x340, 0, 0],
    [0x4000_0000, 0, 0x4000_0001, 0x4b4d_564b, 0x564b_4d56, 0x4d],
    [0x8000_0000, 0, 0x8000_0021, 0x6874_7541, 0x444d_4163, 0x6974_6e65],
    [0x8000_0008, 0, 0x3030, 0x0211_d007, 0, 0],
    [0x8000_001f, 0, 0x1a, 0x173, 0, 0],
];

fn leaf([function, index, eax, ebx, ecx, edx]: [u32; 6]) -> kvm::kvm_cpuid_entry2 {
    let flags = u32::from(function == 0xd || function == 7);
    kvm::kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx, ..Default::default() }
}

/// A vCPU after KVM's reset (Linux arch/x86/kvm/x86.c `kvm_vcpu_reset`, svm.c `init_vmcb`).
fn reset_sregs() -> kvm::kvm_sregs {
    let data = kvm::kvm_segment { limit: 0xffff, type_: 2, present: 1, s: 1, ..Default::default() };
    let code = kvm::kvm_segment { selector: 0xf000, base: 0xffff_0000, type_: 10, ..data };
    let ldt = kvm::kvm_segment { s: 0, ..data };
    let table = kvm::kvm_dtable { limit: 0xffff, ..Default::default() };
    kvm::kvm_sregs {
        cs: code,
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        ldt,
        tr: kvm::kvm_segment { type_: 3, ..ldt },
        gdt: table,
        idt: table,
        cr0: 0x10,
        apic_base: 0xfee0_0000,
        ..Default::default()
    }
}

fn reset_regs() -> kvm::kvm_regs {
    kvm::kvm_regs { rip: 0xfff0, rflags: 2, rdx: 0x600, ..Default::default() }
}
