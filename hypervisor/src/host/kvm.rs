//! KVM and the SNP device.

use super::{Capability, Finding, Verdict};
use kvm_bindings::{
    KVM_API_VERSION, KVM_CAP_EXIT_HYPERCALL, KVM_CAP_GUEST_MEMFD, KVM_CAP_IMMEDIATE_EXIT,
    KVM_CAP_IOEVENTFD, KVM_CAP_IRQCHIP, KVM_CAP_IRQFD, KVM_CAP_MEMORY_ATTRIBUTES,
    KVM_CAP_MEMORY_FAULT_INFO, KVM_CAP_SIGNAL_MSI, KVM_CAP_USER_MEMORY, KVM_CAP_USER_MEMORY2,
    KVM_CAP_VM_TYPES, KVM_MAX_CPUID_ENTRIES, KVM_X86_SNP_VM, kvm_cpuid_entry2,
};
use kvm_ioctls::Kvm;
use std::fs::OpenOptions;
use std::path::Path;

const DEV_KVM: &str = "/dev/kvm";
const DEV_SEV: &str = "/dev/sev";
/// KVM_CAP_EXIT_HYPERCALL's bit for KVM_HC_MAP_GPA_RANGE.
const MAP_GPA_RANGE: u32 = 1 << 12;

/// Capabilities: number, name, bits that must be set (0: any), what for, what cannot be had
/// without.
const CAPABILITIES: [(u32, &str, u32, &str, Capability); 11] = [
    (KVM_CAP_USER_MEMORY, "user memory", 0, "guest memory", Capability::Plain),
    (KVM_CAP_IRQCHIP, "irqchip", 0, "interrupt controllers in the kernel", Capability::Plain),
    (
        KVM_CAP_IRQFD,
        "irqfd",
        0,
        "device processes raise interrupts by themselves",
        Capability::Plain,
    ),
    (KVM_CAP_IOEVENTFD, "ioeventfd", 0, "doorbells go to device processes", Capability::Plain),
    (KVM_CAP_SIGNAL_MSI, "MSI", 0, "message-signalled interrupts", Capability::Plain),
    (KVM_CAP_IMMEDIATE_EXIT, "immediate exit", 0, "stopping a vCPU", Capability::Plain),
    (KVM_CAP_USER_MEMORY2, "user memory 2", 0, "private guest memory", Capability::SevSnp),
    (KVM_CAP_GUEST_MEMFD, "guest_memfd", 0, "private guest memory", Capability::SevSnp),
    (
        KVM_CAP_MEMORY_ATTRIBUTES,
        "memory attributes",
        0,
        "private and shared pages",
        Capability::SevSnp,
    ),
    (KVM_CAP_MEMORY_FAULT_INFO, "memory fault exits", 0, "page-state changes", Capability::SevSnp),
    (
        KVM_CAP_EXIT_HYPERCALL,
        "hypercall exits",
        MAP_GPA_RANGE,
        "page-state changes that a guest asks for",
        Capability::SevSnp,
    ),
];

pub(super) fn findings() -> Vec<Finding> {
    let mut findings = Vec::new();
    match open() {
        Ok(kvm) => {
            findings.push(version(&kvm));
            findings.push(runs_linux(judge(&kvm)));
            findings.extend(capabilities(&kvm));
            findings.extend(snp(&kvm));
        }
        Err(why) => {
            let finding = Finding::new(DEV_KVM, Verdict::Missing, "cannot be used", why);
            findings.push(finding.needed_for(Capability::Plain));
            let why = "cannot be asked without /dev/kvm";
            let vm_type = Finding::new("SNP VM type", Verdict::Missing, "unknown", why);
            findings.push(vm_type.needed_for(Capability::SevSnp));
        }
    }
    findings.push(sev_device());
    findings.extend(super::firmware::findings(Path::new(DEV_SEV)));
    findings
}

pub(super) fn can_run_linux() -> Result<(), String> {
    let kvm = open()?;
    let missing = capabilities(&kvm).into_iter().find(|finding| {
        finding.verdict == Verdict::Missing && finding.needed_for == Some(Capability::Plain)
    });
    match missing {
        Some(finding) => Err(format!("KVM has no {}", finding.subject)),
        None => judge(&kvm),
    }
}

fn open() -> Result<Kvm, String> {
    let path = Path::new(DEV_KVM);
    if !path.exists() {
        return Err(format!(
            "{DEV_KVM} does not exist: enable virtualization in the firmware, load kvm_amd or kvm_intel; in a VM, \
             ask for nested virtualization"
        ));
    }
    Kvm::new().map_err(|e| match e.errno() {
        libc::EACCES | libc::EPERM => {
            format!("no permission for {DEV_KVM}: join its group (often `usermod -aG kvm $USER`)")
        }
        _ => format!("{DEV_KVM} cannot be opened: {e}"),
    })
}

fn version(kvm: &Kvm) -> Finding {
    let api = kvm.get_api_version();
    let there = u32::try_from(api) == Ok(KVM_API_VERSION);
    let found = format!("API {api}, up to {} vCPUs", kvm.get_max_vcpus());
    Finding::there(DEV_KVM, there, found, "runs the guest's code").needed_for(Capability::Plain)
}

fn runs_linux(judgement: Result<(), String>) -> Finding {
    let finding = match judgement {
        Ok(()) => Finding::new("runs Linux", Verdict::Ok, "yes", "a guest is a stock Linux kernel"),
        Err(why) => Finding::new("runs Linux", Verdict::Missing, "no", why),
    };
    finding.needed_for(Capability::Plain)
}

fn capabilities(kvm: &Kvm) -> Vec<Finding> {
    let finding = |(number, name, bits, what_for, capability): (u32, &str, u32, &str, _)| {
        let value = kvm.check_extension_raw(number.into());
        let there = value > 0 && value.cast_unsigned() & bits == bits;
        let found = if value > 1 { format!("{value:#x}") } else { yes_no(there).into() };
        Finding::there(format!("KVM {name}"), there, found, what_for).needed_for(capability)
    };
    CAPABILITIES.into_iter().map(finding).collect()
}

const fn yes_no(there: bool) -> &'static str {
    if there { "yes" } else { "no" }
}

/// CPUID leaf `function`, subleaf 0, as KVM offers it.
fn leaf(kvm: &Kvm, function: u32) -> Option<kvm_cpuid_entry2> {
    let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).ok()?;
    let entry = cpuid.as_slice().iter().find(|e| e.function == function && e.index == 0);
    entry.copied()
}

/// A KVM that runs guest kernels by emulation (such as kvm_pvm, on a machine without SVM and VMX)
/// offers neither SSE3 nor XSAVE, has no `syscall` into the guest's kernel, and takes minutes to
/// fail at booting Linux.
fn judge(kvm: &Kvm) -> Result<(), String> {
    const SSE3: u32 = 1;
    const XSAVE: u32 = 1 << 26;
    let Some(features) = leaf(kvm, 1) else {
        return Err("KVM_GET_SUPPORTED_CPUID fails".into());
    };
    let emulated = features.ecx & (SSE3 | XSAVE) == 0;
    let pvm = Path::new("/sys/module/kvm_pvm").exists() && !has_hardware_virtualization();
    match (emulated, pvm) {
        (false, false) => Ok(()),
        (_, true) => Err(
            "this KVM is kvm_pvm: without SVM or VMX it emulates guest kernels and cannot run a \
                          stock one"
                .into(),
        ),
        (true, false) => {
            Err("this KVM offers a CPU without SSE3 and XSAVE: guest kernels are emulated".into())
        }
    }
}

/// Whether this kernel sees SVM or VMX.
fn has_hardware_virtualization() -> bool {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split(' ').any(|flag| flag == "svm" || flag == "vmx"))
}

fn snp(kvm: &Kvm) -> Vec<Finding> {
    let types = kvm.check_extension_raw(KVM_CAP_VM_TYPES.into()).cast_unsigned();
    let offered = types & 1 << KVM_X86_SNP_VM != 0;
    let why = "confidential VMs: needs an EPYC (Milan or newer), SNP enabled in the firmware, Linux 6.11 or \
               newer, kvm_amd.sev_snp=Y";
    let vm_type = Finding::there("SNP VM type", offered, format!("types {types:#x}"), why);
    let mut findings = vec![vm_type.needed_for(Capability::SevSnp)];
    let encryption = leaf(kvm, 0x8000_001f).filter(|leaf| leaf.eax != 0);
    findings.push(match encryption {
        Some(leaf) => {
            let found = format!(
                "SEV {}, ES {}, SNP {}, C-bit {}",
                yes_no(leaf.eax & 1 << 1 != 0),
                yes_no(leaf.eax & 1 << 3 != 0),
                yes_no(leaf.eax & 1 << 4 != 0),
                leaf.ebx & 0x3f
            );
            Finding::new("memory encryption", Verdict::Ok, found, "CPUID 8000001F as KVM offers it")
        }
        None => {
            let why = "no CPUID leaf 8000001F: not a processor with SEV, or SEV is off";
            Finding::new("memory encryption", Verdict::Note, "none", why)
        }
    });
    if offered {
        let there = crate::kvm::has_certificate_exits(kvm);
        let verdict = if there { Verdict::Ok } else { Verdict::Note };
        let why = "certificates come with a guest's extended report (`snp.certs`): Linux 7.0";
        findings.push(Finding::new("SNP certificate exits", verdict, yes_no(there), why));
    }
    findings
}

fn sev_device() -> Finding {
    let why =
        "launches talk to the security processor through it: needs the ccp module and permission";
    let (there, found) = if !Path::new(DEV_SEV).exists() {
        (false, "does not exist".to_owned())
    } else {
        match OpenOptions::new().read(true).write(true).open(DEV_SEV) {
            Ok(_) => (true, "present".to_owned()),
            Err(e) => (false, e.to_string()),
        }
    };
    Finding::there(DEV_SEV, there, found, why).needed_for(Capability::SevSnp)
}
