//! A whole SEV-SNP launch by the real engine on a MODEL of KVM that writes down every ioctl: what
//! the kernel is told is what was planned and what the documentation asks for, and a failure of any
//! one call ends the launch with an error that names it, and leaves nothing.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "tests"
)]

use casemate_test_support::bzimage::bzimage;

use casemate_attestation::digest::{LaunchDigest, PageKind as Kind};
use casemate_attestation::evidence::GuestCertTable;
use casemate_hypervisor::config::RawConfig;
use casemate_hypervisor::config::{IdBlock, SnpLaunch};
use casemate_hypervisor::exits::{Events, Note, PageRule};
use casemate_hypervisor::kvm::{KernelSides, PrivateMemory, Vm, VmKind};
use casemate_hypervisor::launch::BootState;
use casemate_hypervisor::launch::linux::{Files, plan as linux_plan};
use casemate_hypervisor::launch::measure::measure;
use casemate_hypervisor::launch::{LaunchPlan, PageKind};
use casemate_hypervisor::memory::{
    GpaRange, GuestRam, PageMap, PageStates, PrivateRam, RamMap, Refusal, Visibility,
};
use casemate_hypervisor::vm::engine::{Engine, EngineError, SetUp};
use casemate_model_kvm::{Fault, InUse, Plan, Registers, start};
use casemate_policy::Policy;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;

struct Quiet;
impl Events for Quiet {
    fn mark(&self, _: u8) {}
    fn note(&self, _: Note) {}
    fn denied(&self, _: PageRule, _: u64) {}
}

/// A launch with a page of every kind, two vCPUs and everything that LAUNCH_FINISH can carry.
fn full_plan() -> LaunchPlan {
    let boot = BootState { rip: 0x1_0000, rsp: 0x2_8000, rsi: 0x4000, cr3: 0x1000 };
    let mut plan = LaunchPlan::new(RamMap::new(0xc010_0000).unwrap(), 2, boot);
    plan.snp = Some(SnpLaunch {
        policy: 0xb_0000,
        host_data: std::array::from_fn(|i| i as u8),
        id: Some(IdBlock { block: vec![0x1d; 96], auth: vec![0xa7; 4096] }),
        author_key_enabled: true,
        vcek_disabled: true,
        vmsa_features: 1 << 5,
        c_bit: 51,
        expect_digest: None,
        certs: None,
        page_limits: Policy::builtin_strict().page_state_limits(),
    });
    plan.shared = vec![GpaRange::new(0x20_0000, 0x20_0000).unwrap()];
    plan.add_pages("tables", PageKind::Normal, 0x1000, vec![1; 8192]).unwrap();
    plan.add_pages("cpuid", PageKind::Cpuid, 0x5000, vec![]).unwrap();
    plan.add_pages("secrets", PageKind::Secrets, 0x6000, vec![]).unwrap();
    plan.add_pages("zero", PageKind::Zero, 0x7000, vec![]).unwrap();
    plan.add_pages("notes", PageKind::Unmeasured, 0x8000, vec![2; 100]).unwrap();
    plan.add_pages("code", PageKind::Normal, 0x1_0000, vec![3; 4097]).unwrap();
    plan.stage("kernel", 0x20_0000, vec![4; 5000]).unwrap();
    plan
}

/// Everything of a launch that makes ioctls, as `casemate run` does it.
fn launch(model: &InUse, plan: &LaunchPlan) -> Result<u64, EngineError> {
    Engine::new(model.host_fds(), plan, Box::new(Quiet))?.launch(plan)
}

/// The lines of a trace, without its comments.
fn lines(text: &str) -> Vec<&str> {
    let kept = text.lines().map(str::trim_end);
    kept.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn every_call_of_a_launch_is_the_one_reviewed_against_the_kernels_documentation() {
    let model = start(None);
    let pages = launch(&model, &full_plan()).unwrap();
    assert_eq!(pages, 8 + 2);
    let told: Vec<String> = model.with(|m| m.calls.iter().map(|call| call.text.clone()).collect());
    let told = told.join("\n");
    let golden = include_str!("golden/snp_launch.trace");
    if lines(&told) != lines(golden) {
        let pairs = lines(&told).into_iter().zip(lines(golden)).enumerate();
        let first = pairs.into_iter().find(|(_, (told, golden))| told != golden);
        panic!(
            "the launch differs from tests/golden/snp_launch.trace at {first:#?}\nall of it:\n{told}"
        );
    }
}

/// Protects what the policy says: before there is a plan, the firmware has begun no launch, no page
/// of memory exists, and the boot processor has nowhere to go. Cannot tell what the process that
/// waits does otherwise; `casemate/tests/vmm_image.rs` looks at it.
#[test]
fn before_a_plan_comes_no_launch_has_begun_and_no_byte_is_in_memory() {
    let model = start(None);
    let plan = full_plan();
    let set_up = SetUp::new(model.host_fds(), &plan.shape()).unwrap();
    let names: Vec<_> = calls(&model).iter().map(|call| call.name).collect();
    let told = |name: &str| names.iter().filter(|known| **known == name).count();
    let made = ["KVM_SEV_INIT2", "KVM_SET_USER_MEMORY_REGION2", "KVM_CREATE_VCPU"].map(told);
    assert_eq!(made, [1, 2, 2], "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("SNP_LAUNCH")), "{names:?}");
    // The second vCPU's: parked.
    assert_eq!(told("KVM_SET_REGS"), 1, "{names:?}");
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let memory = descriptors.filter(|fd| {
        let of = std::fs::read_link(fd.path()).unwrap_or_default();
        of.to_string_lossy().contains("memfd:guest-ram")
    });
    let pages: Vec<_> = memory.map(|fd| std::fs::metadata(fd.path()).unwrap().blocks()).collect();
    assert_eq!(pages, [0], "a page of guest memory was touched");
    // A plan for another VM than the one that was asked about is not loaded into this one.
    let mut other = full_plan();
    other.vcpus = 1;
    let error = set_up.load(&other, Box::new(Quiet)).unwrap_err();
    assert!(matches!(error, EngineError::OtherShape), "{error}");
}

/// The page that KVM measures for a vCPU at LAUNCH_FINISH, from the registers it was told: Linux
/// 6.12 arch/x86/kvm/svm/sev.c `sev_es_sync_vmsa`, layout `struct sev_es_save_area` of
/// arch/x86/include/asm/svm.h.
fn vmsa(vcpu: &Registers, features: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    let (s, r) = (&vcpu.sregs, &vcpu.regs);
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    let segments = [
        (0, s.es),
        (0x10, s.cs),
        (0x20, s.ss),
        (0x30, s.ds),
        (0x40, s.fs),
        (0x50, s.gs),
        (0x70, s.ldt),
        (0x90, s.tr),
    ];
    for (at, x) in segments {
        let attributes = u16::from(x.type_)
            | u16::from(x.s) << 4
            | u16::from(x.dpl) << 5
            | u16::from(x.present) << 7
            | u16::from(x.avl) << 8
            | u16::from(x.l) << 9
            | u16::from(x.db) << 10
            | u16::from(x.g) << 11;
        put(at, &x.selector.to_le_bytes());
        put(at + 2, &attributes.to_le_bytes());
        put(at + 4, &x.limit.to_le_bytes());
        put(at + 8, &x.base.to_le_bytes());
    }
    for (at, table) in [(0x60, s.gdt), (0x80, s.idt)] {
        put(at + 4, &u32::from(table.limit).to_le_bytes());
        put(at + 8, &table.base.to_le_bytes());
    }
    put(0xcb, &[s.ss.dpl]);
    for (at, value) in [
        (0xd0, s.efer | 1 << 12), // svm_set_efer: SVME
        (0x148, s.cr4 | 1 << 6),  // svm_set_cr4: the host's MCE
        (0x150, s.cr3),
        (0x158, s.cr0),
        (0x160, 0x400),
        (0x168, 0xffff_0ff0),
        (0x170, r.rflags),
        (0x178, r.rip),
        (0x1d8, r.rsp),
        (0x1f8, r.rax),
        (0x268, 0x0007_0406_0007_0406),
        (0x308, r.rcx),
        (0x310, r.rdx),
        (0x318, r.rbx),
        (0x328, r.rbp),
        (0x330, r.rsi),
        (0x338, r.rdi),
        (0x340, r.r8),
        (0x348, r.r9),
        (0x350, r.r10),
        (0x358, r.r11),
        (0x360, r.r12),
        (0x368, r.r13),
        (0x370, r.r14),
        (0x378, r.r15),
        (0x3b0, features),
        (0x3e8, 1),
    ] {
        put(at, &value.to_le_bytes());
    }
    put(0x408, &0x1f80_u32.to_le_bytes());
    put(0x410, &0x37f_u16.to_le_bytes());
    page
}

/// The digest of what the kernel was told, and nothing else.
fn told_digest(model: &InUse) -> [u8; 48] {
    model.with(|m| {
        let mut digest = LaunchDigest::new();
        for (gpa, kind, contents) in m.calls.iter().filter_map(|call| call.page.as_ref()) {
            let kind = Kind::from_raw(*kind).unwrap();
            digest.page(kind, *gpa, contents[..].try_into().unwrap());
        }
        for vcpu in &m.vcpus {
            digest.page(Kind::Vmsa, 0xffff_ffff_f000, &vmsa(vcpu, m.features));
        }
        digest.finish()
    })
}

#[test]
fn the_digest_of_what_the_kernel_is_told_is_the_one_that_was_planned() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    assert_eq!(told_digest(&model), measure(&plan).unwrap().digest);
}

/// A plan of the real program with a kernel of no use.
fn real_plan(vcpus: u32, memory: &str) -> LaunchPlan {
    let kernel = bzimage(&[]);
    let text = format!(
        "kernel = \"k\"\nprotection = \"sev-snp\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\n"
    );
    let config = RawConfig::from_toml(&text, "test").unwrap().validate().unwrap();
    linux_plan(&config, Files { kernel, initrd: Some(vec![5; 70_000]) }).unwrap()
}

#[test]
fn launches_of_the_real_program_tell_the_kernel_what_casemate_measure_predicts() {
    for (vcpus, memory) in [(1, "96M"), (2, "256M"), (7, "3300M"), (64, "128M")] {
        let model = start(None);
        let plan = real_plan(vcpus, memory);
        let pages = launch(&model, &plan).unwrap();
        let measurement = measure(&plan).unwrap();
        assert_eq!(told_digest(&model), measurement.digest, "{vcpus} vCPUs, {memory}");
        assert_eq!(pages, measurement.pages.len() as u64);
        assert!(pages <= 19 + u64::from(vcpus), "{pages} measured pages");
    }
}

/// Descriptors, mappings of memory files and vCPU threads of this process.
fn held() -> (usize, usize, usize) {
    let entries = |path| std::fs::read_dir(path).unwrap().flatten();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    // The harness has threads of its own, which come and go.
    let vcpus = entries("/proc/self/task").filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.starts_with("vcpu"))
    });
    (entries("/proc/self/fd").count(), maps.matches("memfd:").count(), vcpus.count())
}

/// Calls that are tried again when they were interrupted or the other side was busy.
fn is_retried(name: &str) -> bool {
    matches!(
        name,
        "KVM_SEV_INIT2"
            | "SNP_LAUNCH_START"
            | "SNP_LAUNCH_UPDATE"
            | "SNP_LAUNCH_FINISH"
            | "KVM_SET_MEMORY_ATTRIBUTES"
            | "KVM_CREATE_VM"
    )
}

/// Whether the answer of a call is only a hint.
fn is_question(name: &str) -> bool {
    matches!(name, "KVM_CHECK_EXTENSION" | "KVM_HAS_DEVICE_ATTR" | "KVM_GET_DEVICE_ATTR")
}

/// Asserts that `error` says which call failed, and of a page where and of what kind.
fn assert_names(error: &EngineError, call: &casemate_model_kvm::Call) {
    let text = error.to_string();
    let name = match call.name {
        // Part of creating a VM, for its caller.
        "KVM_GET_VCPU_MMAP_SIZE" => "KVM_",
        name => name,
    };
    assert!(text.contains(name), "{}: {text}", call.text);
    assert!(!text.contains('\n'), "{text}");
    if let Some((gpa, kind, _)) = &call.page {
        let kinds = [(1, "normal"), (3, "zero"), (4, "unmeasured"), (5, "secrets"), (6, "cpuid")];
        let (_, kind) = kinds.iter().find(|(number, _)| number == kind).unwrap();
        assert!(text.contains(&format!("{kind} page at {gpa:#x}")), "{}: {text}", call.text);
    }
}

fn calls(model: &InUse) -> Vec<casemate_model_kvm::Call> {
    model.with(|m| m.calls.clone())
}

#[test]
fn whichever_call_fails_the_error_names_it_and_nothing_stays_behind() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    let all = calls(&model);
    let before = held();
    for (at, call) in all.iter().enumerate().filter(|(_, call)| !is_question(call.name)) {
        for errno in [libc::ENOMEM, libc::EIO, libc::EINVAL, libc::EPERM] {
            model.again(Some(Plan { at, forever: false, fault: Fault::Errno(errno) }));
            let error = launch(&model, &plan).unwrap_err();
            assert_names(&error, call);
            assert_eq!(calls(&model).len(), at + 1, "something was done after {}", call.text);
            assert_eq!(held(), before, "left behind by {}", call.text);
        }
    }
}

#[test]
fn interrupted_and_busy_commands_are_tried_again_and_not_for_ever() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    let (all, digest, before) = (calls(&model), told_digest(&model), held());
    for (at, call) in all.iter().enumerate().filter(|(_, call)| is_retried(call.name)) {
        let errnos = [libc::EINTR, libc::EAGAIN];
        // Creating a VM is interrupted, but never busy.
        let errnos = if call.name == "KVM_CREATE_VM" { &errnos[..1] } else { &errnos };
        for errno in errnos.iter().copied() {
            model.again(Some(Plan { at, forever: false, fault: Fault::Errno(errno) }));
            launch(&model, &plan).unwrap();
            let told = calls(&model);
            assert_eq!(told.len(), all.len() + 1, "{}", call.text);
            assert_eq!(told[at].text, told[at + 1].text, "tried again with something else");
            model.with(|m| m.calls.remove(at));
            assert_eq!(told_digest(&model), digest);
            model.again(Some(Plan { at, forever: true, fault: Fault::Errno(errno) }));
            assert_names(&launch(&model, &plan).unwrap_err(), call);
            assert!(calls(&model).len() < at + 1000, "tried without end: {}", call.text);
            assert_eq!(held(), before);
        }
    }
}

#[test]
fn an_update_that_did_less_than_it_was_asked_for_goes_on_and_not_for_ever() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    let (all, digest) = (calls(&model), told_digest(&model));
    for (at, call) in all.iter().enumerate().filter(|(_, call)| call.page.is_some()) {
        model.again(Some(Plan { at, forever: false, fault: Fault::Short }));
        launch(&model, &plan).unwrap();
        model.with(|m| m.calls.remove(at));
        assert_eq!(told_digest(&model), digest, "{}", call.text);
        model.again(Some(Plan { at, forever: true, fault: Fault::Short }));
        assert_names(&launch(&model, &plan).unwrap_err(), call);
    }
}

#[test]
fn whatever_the_firmware_says_the_error_has_its_name_its_number_and_the_page() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    let (all, before) = (calls(&model), held());
    let commands = |name: &str| {
        is_retried(name) && !name.starts_with("KVM_SET") && !name.starts_with("KVM_CREATE")
    };
    for (at, call) in all.iter().enumerate().filter(|(_, call)| commands(call.name)) {
        for (status, name) in [
            (0x01, "INVALID_PLATFORM_STATE"),
            (0x07, "POLICY_FAILURE"),
            (0x0b, "BAD_MEASUREMENT"),
            (0x1b, "INVALID_PAGE_STATE"),
            (0xff, "does not know"),
        ] {
            model.again(Some(Plan { at, forever: false, fault: Fault::Firmware(status) }));
            let error = launch(&model, &plan).unwrap_err();
            assert_names(&error, call);
            let text = error.to_string();
            assert!(text.contains(name) && text.contains(&format!("{status:#x}")), "{text}");
            assert_eq!(calls(&model).len(), at + 1, "something was done after {}", call.text);
            assert_eq!(held(), before);
        }
    }
}

#[test]
fn a_refused_cpuid_table_is_explained_leaf_by_leaf_and_never_replaced() {
    let model = start(None);
    let plan = full_plan();
    launch(&model, &plan).unwrap();
    let all = calls(&model);
    let at = all.iter().position(|call| matches!(call.page, Some((_, 6, _)))).unwrap();
    let (_, _, mut corrected) = all[at].page.clone().unwrap();
    // EBX of the second entry of the table.
    corrected[16 + 48 + 28] ^= 4;
    model.again(Some(Plan { at, forever: false, fault: Fault::Firmware(0x16) }));
    model.with(|m| m.cpuid_correction = Some(corrected));
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("leaf 0x1.0 EBX: asked for") && !text.contains("leaf 0x7"), "{text}");
    assert_eq!(calls(&model).len(), at + 1, "the launch went on with the firmware's table");
}

#[test]
fn commands_out_of_order_are_refused_and_named() {
    let model = start(None);
    let plan = full_plan();
    let engine = Engine::new(model.host_fds(), &plan, Box::new(Quiet)).unwrap();
    engine.launch(&plan).unwrap();
    let text = engine.launch(&plan).unwrap_err().to_string();
    assert!(text.contains("SNP_LAUNCH_START failed"), "{text}");
    drop(engine);
    // A page that is shared cannot be launched.
    model.again(None);
    let mut plan = full_plan();
    plan.shared.push(GpaRange::new(0x7000, 0x1000).unwrap());
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("zero page at 0x7000") && text.contains("not private"), "{text}");
    // The policy that this kernel refuses.
    model.again(None);
    let mut plan = full_plan();
    plan.snp.as_mut().unwrap().policy = 0x2_0000;
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("SNP_LAUNCH_START") && text.contains("`snp.policy`"), "{text}");
    model.again(None);
    let mut plan = full_plan();
    plan.snp.as_mut().unwrap().vmsa_features = 1 << 9;
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("KVM_SEV_INIT2") && text.contains("`snp.vmsa_features`"), "{text}");
}

#[test]
fn certificates_are_asked_for_before_any_vcpu_or_the_launch_is_refused() {
    let model = start(None);
    let mut plan = full_plan();
    let without = measure(&plan).unwrap().digest;
    plan.snp.as_mut().unwrap().certs = Some(GuestCertTable::new(vec![0; 4096]).unwrap());
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("`snp.certs`") && text.contains("leave"), "{text}");
    assert!(calls(&model).iter().all(|call| !call.name.starts_with("SNP_LAUNCH")));
    model.again(None);
    model.with(|m| m.certificate_exits = true);
    launch(&model, &plan).unwrap();
    let names: Vec<_> = calls(&model).iter().map(|call| call.name).collect();
    let at = |name| names.iter().position(|n| *n == name).unwrap();
    assert!(at("KVM_SEV_INIT2") < at("KVM_SEV_SNP_ENABLE_REQ_CERTS"));
    assert!(at("KVM_SEV_SNP_ENABLE_REQ_CERTS") < at("KVM_CREATE_VCPU"));
    assert_eq!(told_digest(&model), without, "certificates are no part of the digest");
    let failing =
        Plan { at: at("KVM_SEV_SNP_ENABLE_REQ_CERTS"), forever: false, fault: Fault::Errno(22) };
    model.again(Some(failing));
    model.with(|m| m.certificate_exits = true);
    let text = launch(&model, &plan).unwrap_err().to_string();
    assert!(text.contains("KVM_SEV_SNP_ENABLE_REQ_CERTS failed"), "{text}");
}

#[test]
fn a_conversion_tells_kvm_and_then_empties_the_file_of_the_side_that_is_given_up() {
    let model = start(None);
    let vm = Arc::new(Vm::create(model.host_fds().dev_kvm, VmKind::Snp).unwrap());
    // RAM on both sides of the hole: two guest_memfds, one memory file.
    let map = RamMap::new(0xc000_0000 + (64 << 12)).unwrap();
    let ram = GuestRam::new(map.clone()).unwrap();
    let private = PrivateMemory::add(&vm, &ram).unwrap();
    let gmems: Vec<File> =
        private.slots().iter().map(|(_, file)| File::from(file.try_clone().unwrap())).collect();
    let limits = Policy::builtin_permissive().page_state_limits();
    let states =
        PrivateRam::new(KernelSides::new(ram.clone(), private), PageMap::new(map, &[]), limits);
    let byte = |file: &File, at: u64| {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        byte[0]
    };
    for (gpa, gmem, within, in_file) in
        [(0x5000_u64, 0, 0x5000_u64, 0x5000_u64), (0x1_0000_3000, 1, 0x3000, 0xc000_3000)]
    {
        let page = GpaRange::new(gpa, 0x1000).unwrap();
        for at in [within, within + 0x1000] {
            gmems[gmem].write_all_at(&[7], at).unwrap();
        }
        let told = calls(&model).len();
        assert_eq!(states.convert(page, Visibility::Shared), Ok(1));
        assert_eq!((byte(&gmems[gmem], within), byte(&gmems[gmem], within + 0x1000)), (0, 7));
        let said = calls(&model)[told..].iter().map(|call| call.text.clone()).collect::<Vec<_>>();
        let expected = format!(
            "vm KVM_SET_MEMORY_ATTRIBUTES address={gpa:#x} size=0x1000 attributes=0x0 flags=0"
        );
        assert_eq!(said, [expected]);
        assert_eq!(states.write_shared(gpa + 8, b"certificates"), Ok(()));
        assert_eq!(byte(ram.file(), in_file + 8), b'c');
        assert_eq!(states.convert(page, Visibility::Private), Ok(1));
        assert_eq!(byte(ram.file(), in_file + 8), 0, "stale data would come back");
        assert_eq!(states.write_shared(gpa, b"x"), Err(Refusal::NotShared));
    }
    // KVM's refusal is the guest's, and nothing is given up.
    let at = calls(&model).len();
    gmems[0].write_all_at(&[9], 0x9000).unwrap();
    model.with(|m| m.fail_at(Plan { at, forever: false, fault: Fault::Errno(libc::ENOMEM) }));
    let page = GpaRange::new(0x9000, 0x1000).unwrap();
    let refused = Err(Refusal::Kernel(libc::ENOMEM));
    assert_eq!(states.convert(page, Visibility::Shared), refused);
    assert_eq!(byte(&gmems[0], 0x9000), 9);
}
