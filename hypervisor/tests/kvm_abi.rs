//! The kernel's interface as its headers have it, against what Casemate uses: a C program, compiled
//! from the headers, prints every size, offset and number; they must be ours.
//!
//! Headers: those of the virtual host's kernels (`tests/host/build --protected`, and with `--kernel
//! 7`), else the system's where they know SEV-SNP. What a header does not have yet (certificate
//! exits came with Linux 7.0) is counted and said.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    unsafe_code,
    reason = "tests"
)]

use casemate_hypervisor::exits::{Exit, RUN_HEAD, RunArea};
use kvm_bindings as kvm;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::{offset_of, size_of};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Structures: C's name, ours, and fields (ours, C's where it differs).
macro_rules! layouts {
    ($($c:literal $rust:ident { $($field:ident $(= $cfield:literal)?),* $(,)? })*) => {{
        let mut ours: Vec<(String, u64)> = Vec::new();
        $(
            ours.push((format!("sizeof({})", $c), size_of::<kvm::$rust>() as u64));
            $(
                let name = [$($cfield,)? stringify!($field)][0];
                ours.push((format!("offsetof({}, {name})", $c), offset_of!(kvm::$rust, $field) as u64));
            )*
        )*
        ours
    }};
}

fn structures() -> Vec<(String, u64)> {
    layouts! {
        "struct kvm_sev_cmd" kvm_sev_cmd { id, data, error, sev_fd }
        "struct kvm_sev_init" kvm_sev_init { vmsa_features, flags, ghcb_version }
        "struct kvm_sev_snp_launch_start" kvm_sev_snp_launch_start { policy, gosvw, flags }
        "struct kvm_sev_snp_launch_update" kvm_sev_snp_launch_update {
            gfn_start, uaddr, len, type_ = "type", flags,
        }
        "struct kvm_sev_snp_launch_finish" kvm_sev_snp_launch_finish {
            id_block_uaddr, id_auth_uaddr, id_block_en, auth_key_en, vcek_disabled, host_data, flags,
        }
        "struct kvm_create_guest_memfd" kvm_create_guest_memfd { size, flags }
        "struct kvm_userspace_memory_region" kvm_userspace_memory_region {
            slot, flags, guest_phys_addr, memory_size, userspace_addr,
        }
        "struct kvm_userspace_memory_region2" kvm_userspace_memory_region2 {
            slot, flags, guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset, guest_memfd,
        }
        "struct kvm_memory_attributes" kvm_memory_attributes { address, size, attributes, flags }
        "struct kvm_enable_cap" kvm_enable_cap { cap, flags, args }
        "struct kvm_device_attr" kvm_device_attr { flags, group, attr, addr }
        "struct kvm_mp_state" kvm_mp_state { mp_state }
        "struct kvm_irqfd" kvm_irqfd { fd, gsi, flags }
        "struct kvm_pit_config" kvm_pit_config { flags }
        "struct kvm_regs" kvm_regs { rax, rdx, rsi, rsp, r8, rip, rflags }
        "struct kvm_segment" kvm_segment { base, limit, selector, type_ = "type", present, dpl, db, s, l, g, avl, unusable }
        "struct kvm_dtable" kvm_dtable { base, limit }
        "struct kvm_sregs" kvm_sregs { cs, ds, es, fs, gs, ss, tr, ldt, gdt, idt, cr0, cr3, cr4, efer, apic_base }
        "struct kvm_msrs" kvm_msrs { nmsrs }
        "struct kvm_msr_entry" kvm_msr_entry { index, data }
        "struct kvm_cpuid2" kvm_cpuid2 { nent }
        "struct kvm_cpuid_entry2" kvm_cpuid_entry2 { function, index, flags, eax, ebx, ecx, edx }
    }
}

/// Numbers that the program uses, by the kernel's names.
fn numbers() -> Vec<(String, u64)> {
    let ours: &[(&str, u64)] = &[
        ("KVM_X86_SNP_VM", kvm::KVM_X86_SNP_VM.into()),
        ("KVM_X86_SW_PROTECTED_VM", 1),
        ("KVM_CAP_VM_TYPES", kvm::KVM_CAP_VM_TYPES.into()),
        ("KVM_CAP_EXIT_HYPERCALL", kvm::KVM_CAP_EXIT_HYPERCALL.into()),
        ("KVM_SEV_INIT2", kvm::sev_cmd_id_KVM_SEV_INIT2.into()),
        ("KVM_SEV_SNP_LAUNCH_START", kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_START.into()),
        ("KVM_SEV_SNP_LAUNCH_UPDATE", kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_UPDATE.into()),
        ("KVM_SEV_SNP_LAUNCH_FINISH", kvm::sev_cmd_id_KVM_SEV_SNP_LAUNCH_FINISH.into()),
        // What the golden trace of a launch says (tests/golden/snp_launch.trace).
        ("KVM_SEV_SNP_PAGE_TYPE_NORMAL", 1),
        ("KVM_SEV_SNP_PAGE_TYPE_ZERO", 3),
        ("KVM_SEV_SNP_PAGE_TYPE_UNMEASURED", 4),
        ("KVM_SEV_SNP_PAGE_TYPE_SECRETS", 5),
        ("KVM_SEV_SNP_PAGE_TYPE_CPUID", 6),
        ("KVM_MEM_GUEST_MEMFD", kvm::KVM_MEM_GUEST_MEMFD.into()),
        ("KVM_MEMORY_ATTRIBUTE_PRIVATE", kvm::KVM_MEMORY_ATTRIBUTE_PRIVATE.into()),
        ("KVM_MEMORY_EXIT_FLAG_PRIVATE", 1 << 3),
        ("KVM_MP_STATE_HALTED", kvm::KVM_MP_STATE_HALTED.into()),
        ("KVM_PIT_SPEAKER_DUMMY", kvm::KVM_PIT_SPEAKER_DUMMY.into()),
        ("KVM_CPUID_FLAG_SIGNIFCANT_INDEX", kvm::KVM_CPUID_FLAG_SIGNIFCANT_INDEX.into()),
        ("KVM_HC_MAP_GPA_RANGE", 12),
        ("KVM_MAP_GPA_RANGE_ENCRYPTED", 1 << 4),
        ("KVM_SYSTEM_EVENT_SEV_TERM", 6),
        ("KVM_EXIT_IO_OUT", 1),
        // Linux 7.0 and later.
        ("KVM_SEV_SNP_ENABLE_REQ_CERTS", 103),
        ("KVM_X86_SEV_SNP_REQ_CERTS", 2),
    ];
    let requests =
        casemate_model_kvm::REQUESTS.iter().map(|(name, number)| (*name, u64::from(*number)));
    ours.iter().copied().chain(requests).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The kernel's names of exits, and ours.
const EXITS: &[(&str, &str)] = &[
    ("KVM_EXIT_IO", "io_in"),
    ("KVM_EXIT_HYPERCALL", "hypercall"),
    ("KVM_EXIT_DEBUG", "debug"),
    ("KVM_EXIT_HLT", "hlt"),
    ("KVM_EXIT_MMIO", "mmio_read"),
    ("KVM_EXIT_SHUTDOWN", "shutdown"),
    ("KVM_EXIT_FAIL_ENTRY", "fail_entry"),
    ("KVM_EXIT_INTR", "intr"),
    ("KVM_EXIT_INTERNAL_ERROR", "internal_error"),
    ("KVM_EXIT_SYSTEM_EVENT", "system_event"),
    ("KVM_EXIT_IOAPIC_EOI", "ioapic_eoi"),
    ("KVM_EXIT_X86_RDMSR", "rdmsr"),
    ("KVM_EXIT_X86_WRMSR", "wrmsr"),
    ("KVM_EXIT_MEMORY_FAULT", "memory_fault"),
    ("KVM_EXIT_SNP_REQ_CERTS", "req_certs"),
];

/// Offsets within `kvm_run` that the translation of exits has, by the fields' names.
const RUN_OFFSETS: &[(&str, u64)] = &[
    ("immediate_exit", 1),
    ("exit_reason", 8),
    ("io.direction", 32),
    ("io.size", 33),
    ("io.port", 34),
    ("io.count", 36),
    ("io.data_offset", 40),
    ("mmio.phys_addr", 32),
    ("mmio.data", 40),
    ("mmio.len", 48),
    ("mmio.is_write", 52),
    ("hypercall.nr", 32),
    ("hypercall.args", 40),
    ("hypercall.ret", 88),
    ("memory_fault.flags", 32),
    ("memory_fault.gpa", 40),
    ("memory_fault.size", 48),
    ("system_event.type", 32),
    ("system_event.ndata", 36),
    ("system_event.data", 40),
    ("fail_entry.hardware_entry_failure_reason", 32),
    ("internal.suberror", 32),
    ("eoi.vector", 32),
    ("msr.error", 32),
    ("msr.index", 44),
    ("msr.data", 48),
    // Linux 7.0 and later.
    ("snp_req_certs.gpa", 32),
    ("snp_req_certs.npages", 40),
    ("snp_req_certs.ret", 48),
];

fn kernel_headers() -> Vec<PathBuf> {
    let host = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/host");
    let common = ["kernel-tree", "kernel-7/kernel-tree"].into_iter().filter_map(|tree| {
        let entries = std::fs::read_dir(host.join(tree).join("usr/src")).ok()?;
        entries.flatten().map(|entry| entry.path()).find(|path| {
            path.to_string_lossy().ends_with("-common")
                && path.join("include/uapi/linux/kvm.h").is_file()
        })
    });
    let found: Vec<PathBuf> = common.collect();
    if !found.is_empty() {
        return found;
    }
    let header = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/kvm.h");
    let system = header.is_ok_and(|header| header.contains("kvm_sev_snp_launch_start"));
    if system { vec![PathBuf::new()] } else { Vec::new() }
}

/// Whether the compiler says that the headers do not have this name, or the member of `kvm_run` it
/// begins with.
fn is_unknown(complaints: &str, expression: &str) -> bool {
    let member = expression
        .strip_prefix("offsetof(struct kvm_run, ")
        .and_then(|field| field.split(['.', ')']).next());
    [('‘', '’'), ('\'', '\'')].into_iter().any(|(open, close)| {
        complaints.contains(&format!("{open}{expression}{close} undeclared"))
            || member.is_some_and(|member| {
                complaints.contains(&format!("no member named {open}{member}{close}"))
            })
    })
}

/// Copies the headers that are needed, with what only the kernel has taken out, as `make
/// headers_install` does.
fn install(from: &Path, to: &Path) {
    for (source, name) in [
        ("include/uapi/linux", "linux/kvm.h"),
        ("include/uapi/linux", "linux/kvm_para.h"),
        ("arch/x86/include/uapi/asm", "asm/kvm.h"),
        ("arch/x86/include/uapi/asm", "asm/kvm_para.h"),
    ] {
        let file = Path::new(name).file_name().unwrap();
        let text = std::fs::read_to_string(from.join(source).join(file)).unwrap();
        let kept: Vec<&str> = text
            .lines()
            .filter(|line| !line.contains("linux/compiler.h") && !line.contains("linux/bits.h"))
            .collect();
        let path = to.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, kept.join("\n").replace("__user", "") + "\n").unwrap();
    }
}

/// What the headers say: only what they have.
fn theirs(headers: &Path, expressions: &[String]) -> BTreeMap<String, u64> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kvm-abi");
    std::fs::create_dir_all(&place).unwrap();
    let mut include = Vec::new();
    if headers.as_os_str().is_empty() {
        println!("headers: the system's");
    } else {
        println!("headers: {}", headers.file_name().unwrap().to_string_lossy());
        install(headers, &place);
        include.push(format!("-I{}", place.display()));
    }
    let mut program = String::from(
        "#include <stdio.h>\n#include <stddef.h>\n#include <linux/types.h>\n#include <linux/kvm.h>\n#include <linux/kvm_para.h>\n#include <asm/kvm.h>\nint main(void) {\n",
    );
    for expression in expressions {
        writeln!(
            program,
            "printf(\"%s=%llu\\n\", \"{expression}\", (unsigned long long)({expression}));"
        )
        .unwrap();
    }
    program.push_str("return 0; }\n");
    let (source, binary) = (place.join("abi.c"), place.join("abi"));
    std::fs::write(&source, program).unwrap();
    let built =
        Command::new("gcc").args(&include).arg("-o").arg(&binary).arg(&source).output().unwrap();
    let complaints = String::from_utf8_lossy(&built.stderr).into_owned();
    if !built.status.success() {
        // Names that these headers do not have yet.
        let unknown: Vec<&String> =
            expressions.iter().filter(|e| is_unknown(&complaints, e)).collect();
        assert!(!unknown.is_empty(), "{complaints}");
        for name in &unknown {
            println!("SKIPPED: these headers have no {name}");
        }
        let rest: Vec<String> =
            expressions.iter().filter(|e| !unknown.contains(e)).cloned().collect();
        return theirs(headers, &rest);
    }
    let output = Command::new(&binary).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let (name, value) = line.rsplit_once('=').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

#[test]
fn structures_requests_and_numbers_are_those_of_the_kernels_headers() {
    let all = kernel_headers();
    if all.is_empty() {
        println!(
            "SKIPPED: no kernel headers with SEV-SNP (tests/host/build --protected fetches them)"
        );
        return;
    }
    if Command::new("gcc").arg("--version").output().is_err() {
        println!("SKIPPED: no gcc");
        return;
    }
    for headers in all {
        compare(&headers);
    }
}

fn compare(headers: &Path) {
    let mut ours = structures();
    ours.extend(numbers());
    ours.extend(
        RUN_OFFSETS.iter().map(|(field, at)| (format!("offsetof(struct kvm_run, {field})"), *at)),
    );
    let exits = EXITS.iter().map(|(name, _)| (*name).to_owned());
    let expressions: Vec<String> = ours.iter().map(|(name, _)| name.clone()).chain(exits).collect();
    let theirs = theirs(headers, &expressions);
    let mut compared = 0;
    for (name, ours) in &ours {
        if let Some(theirs) = theirs.get(name) {
            assert_eq!(ours, theirs, "{name}");
            compared += 1;
        }
    }
    for (name, expected) in EXITS {
        let Some(reason) = theirs.get(*name) else { continue };
        let mut bytes = vec![0_u8; 4096 - RUN_HEAD];
        bytes[8 - RUN_HEAD..][..4].copy_from_slice(&(*reason as u32).to_le_bytes());
        if *name == "KVM_EXIT_IO" {
            // Where its data is; in other exits these bytes are data.
            bytes[40 - RUN_HEAD..][..8].copy_from_slice(&2048_u64.to_le_bytes());
        }
        let result = if *name == "KVM_EXIT_MEMORY_FAULT" { Err(libc::EFAULT) } else { Ok(()) };
        assert_eq!(Exit::decode(result, RunArea::new(&mut bytes)).name(), *expected);
        compared += 1;
    }
    println!("{compared} of {} compared", expressions.len());
    assert!(compared > 150, "only {compared} of {} were in the headers", expressions.len());
}
