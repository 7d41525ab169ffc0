//! Launch digests of many configurations against two independent computations: the GCTX class of
//! sev-snp-measure (PyPI) and crate `igvm`, each told the same pages in the same order.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use casemate_hypervisor::config::SnpLaunch;
use casemate_hypervisor::config::{RawConfig, VmConfig};
use casemate_hypervisor::launch::issue::{LaunchTarget, issue};
use casemate_hypervisor::launch::linux::{Files, Image, plan};
use casemate_hypervisor::launch::measure::measure;
use casemate_hypervisor::launch::{LaunchPlan, Outline, PageKind};
use casemate_test_support::bzimage::bzimage;
use igvm::measurement::generate_snp_measurement;
use igvm::snp_defs::SevVmsa;
use igvm::{IgvmDirectiveHeader, IgvmInitializationHeader};
use igvm_defs::{IgvmPageDataFlags, IgvmPageDataType};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use zerocopy::FromBytes;

/// A bzImage of `size` bytes after its header.
fn image(size: usize) -> Vec<u8> {
    let init_size = (size as u32).next_multiple_of(0x20_0000) + 0x20_0000;
    let mut file = bzimage(&[(0x260, &init_size.to_le_bytes())]);
    file.truncate(1024);
    file.resize(1024 + size.max(0x400), 0x90);
    file
}

fn elf(size: usize) -> Vec<u8> {
    let mut file = vec![0_u8; 0x200 + size];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(0x10, &[2, 0, 62, 0, 1]);
    put(0x18, &0x100_0000_u64.to_le_bytes());
    put(0x20, &[64]);
    put(0x34, &[64, 0, 56, 0, 1, 0]);
    put(64, &[1, 0, 0, 0, 5]);
    let size = size as u64;
    for (at, value) in
        [(72, 0x200_u64), (80, 0x100_0000), (88, 0x100_0000), (96, size), (104, size + 0x3000)]
    {
        put(at, &value.to_le_bytes());
    }
    file
}

struct Case {
    kernel: Vec<u8>,
    initrd: usize,
    cmdline: &'static str,
    vcpus: u32,
    memory: &'static str,
    features: u64,
    policy: u64,
    c_bit: u8,
}

/// Configurations that differ in all that a digest depends on, and in what it must not depend on.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let kernels = [image(0x800), image(3 << 20), elf(0x800), elf(5_000_001)];
    let cmdlines =
        ["", "quiet", "console=ttyS0 reboot=acpi panic=-1 root=/dev/vda1 ro lockdown=integrity"];
    let shapes: [(u32, &'static str); 6] =
        [(1, "96M"), (2, "256M"), (3, "1G"), (8, "3328M"), (33, "9G"), (64, "200M")];
    for index in 0..24_usize {
        let (vcpus, memory) = shapes[index % shapes.len()];
        cases.push(Case {
            kernel: kernels[index / 6].clone(),
            initrd: [0, 1, 4096, 70_001, 3 << 20][index % 5],
            cmdline: cmdlines[index % cmdlines.len()],
            vcpus,
            memory,
            features: [0, 1 << 5, 1 << 9, 1 << 5 | 1 << 9][(index / 3) % 4],
            policy: [0x3_0000, 0xb_0000, 0x3_011f, 0x13_0000][(index / 2) % 4],
            c_bit: [51, 47, 39][(index / 4) % 3],
        });
    }
    cases
}

fn config(case: &Case) -> VmConfig {
    let text = format!(
        "kernel = \"k\"\nprotection = \"sev-snp\"\nvcpus = {}\nmemory = \"{}\"\ncmdline = \"{}\"\n\
         [snp]\nvmsa_features = {}\npolicy = {}\nc_bit = {}\n",
        case.vcpus, case.memory, case.cmdline, case.features, case.policy, case.c_bit
    );
    RawConfig::from_toml(&text, "test").unwrap().validate().unwrap()
}

fn initrd(case: &Case) -> Option<Vec<u8>> {
    (case.initrd > 0).then(|| (0..case.initrd).map(|i| (i % 253) as u8).collect())
}

fn planned(case: &Case) -> LaunchPlan {
    let files = Files { kernel: case.kernel.clone(), initrd: initrd(case) };
    plan(&config(case), files).unwrap()
}

/// Address, kind, contents.
type Page = (u64, PageKind, Vec<u8>);

/// What a launch is told, in order.
#[derive(Default)]
struct Told(Vec<Page>);
impl LaunchTarget for Told {
    type Error = Infallible;
    fn start(&mut self, _: &SnpLaunch) -> Result<(), Infallible> {
        Ok(())
    }
    fn page(
        &mut self,
        gpa: u64,
        kind: PageKind,
        _: &'static str,
        contents: &[u8; 4096],
    ) -> Result<(), Infallible> {
        self.0.push((gpa, kind, contents.to_vec()));
        Ok(())
    }
    fn finish(&mut self, _: &LaunchPlan, _: &SnpLaunch) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Pages and vCPU states of a plan.
fn told(plan: &LaunchPlan) -> (Vec<Page>, Vec<[u8; 4096]>) {
    let launch = plan.snp.as_ref().unwrap();
    let mut told = Told::default();
    // The host's CPUID table is no part of a measurement.
    let Ok(_) = issue(plan, launch, &[0xc1; 4096], &mut told);
    let features = launch.vmsa_features;
    (told.0, plan.vcpu_states().map(|state| state.vmsa_page(features)).collect())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn ours() -> Vec<(LaunchPlan, String)> {
    let plans = cases().iter().map(planned).collect::<Vec<_>>();
    plans.into_iter().map(|plan| (plan.clone(), hex(&measure(&plan).unwrap().digest))).collect()
}

/// What a digest says of a case: all but its memory, policy and what is not measured.
#[test]
fn configurations_that_differ_in_what_is_measured_have_different_digests() {
    let digests: std::collections::BTreeSet<String> = ours().into_iter().map(|(_, d)| d).collect();
    assert_eq!(digests.len(), cases().len());
}

/// One image has one digest for each number of vCPUs: on a small host, on a large one, and where
/// memory goes on above the device hole. What is staged where differs, and is not measured.
#[test]
fn one_image_has_one_digest_whatever_its_memory() {
    for kernel in [image(0x800), elf(0x800)] {
        let with = |memory, vcpus| Case {
            kernel: kernel.clone(),
            initrd: 70_001,
            cmdline: "quiet",
            vcpus,
            memory,
            features: 0,
            policy: 0x3_0000,
            c_bit: 51,
        };
        let mut per_count = Vec::new();
        for vcpus in [1, 2, 7] {
            let plans = ["96M", "97M", "256M", "3G", "3073M", "3328M", "64G", "4096G"]
                .map(|memory| planned(&with(memory, vcpus)));
            let digests = plans.each_ref().map(|plan| measure(plan).unwrap().digest);
            assert!(digests.iter().all(|digest| *digest == digests[0]), "{vcpus} vCPUs");
            assert_ne!(plans[0].shared, plans[2].shared, "the same memory");
            per_count.push(digests[0]);
        }
        per_count.dedup();
        assert_eq!(per_count.len(), 3);
    }
}

#[test]
fn files_that_were_only_hashed_give_the_same_digest_for_every_number_of_vcpus() {
    for case in cases() {
        let hashed = initrd(&case).map(|bytes| Outline::of(&bytes));
        let image = Image::outline(&config(&case), &case.kernel, hashed).unwrap();
        for vcpus in [case.vcpus, 1, 16] {
            let digest = |plan: &LaunchPlan| measure(plan).unwrap().digest;
            let launched = planned(&Case { vcpus, kernel: case.kernel.clone(), ..case });
            assert_eq!(digest(&image.measured(vcpus).unwrap()), digest(&launched), "{vcpus}");
        }
    }
}

#[test]
fn an_initrd_of_an_impossible_size_is_an_error() {
    let case = &cases()[0];
    for size in [(1 << 46) + 1, u64::MAX - 1, u64::MAX] {
        let hashed = Some(Outline { size, sha256: [0; 32] });
        let image = Image::outline(&config(case), &case.kernel, hashed).unwrap();
        let _ = image.measured(1).unwrap_err();
    }
}

/// 9 pages with one vCPU, and one more for each further one.
#[test]
fn a_launch_has_no_more_pages_than_its_budget() {
    for case in cases() {
        let pages = measure(&planned(&case)).unwrap().pages.len();
        assert_eq!(pages, 8 + case.vcpus as usize);
        let of_one = pages + 1 - case.vcpus as usize;
        assert!(of_one <= casemate_layout::map::PAGE_BUDGET);
    }
}

#[test]
fn every_digest_equals_that_of_crate_igvm() {
    let mut compared = 0;
    for (plan, ours) in ours() {
        let (pages, vcpus) = told(&plan);
        let mut directives: Vec<_> = pages
            .into_iter()
            .map(|(gpa, kind, data)| {
                let data_type = match kind {
                    PageKind::Cpuid => IgvmPageDataType::CPUID_DATA,
                    PageKind::Secrets => IgvmPageDataType::SECRETS,
                    _ => IgvmPageDataType::NORMAL,
                };
                let flags = IgvmPageDataFlags::new();
                IgvmDirectiveHeader::PageData { gpa, compatibility_mask: 1, flags, data_type, data }
            })
            .collect();
        for (vp_index, page) in (0..).zip(&vcpus) {
            let size = size_of::<SevVmsa>();
            assert!(page[size..].iter().all(|byte| *byte == 0), "state beyond crate igvm's VMSA");
            let vmsa = Box::new(SevVmsa::read_from_bytes(&page[..size]).unwrap());
            directives.push(IgvmDirectiveHeader::SnpVpContext {
                gpa: 0xffff_ffff_f000,
                compatibility_mask: 1,
                vp_index,
                vmsa,
            });
        }
        let policy = plan.snp.as_ref().unwrap().policy;
        let start = [IgvmInitializationHeader::GuestPolicy { policy, compatibility_mask: 1 }];
        let theirs = generate_snp_measurement(&start, &directives, 1).unwrap();
        assert_eq!(hex(&theirs), ours);
        compared += 1;
    }
    println!("compared {compared} digests with crate igvm");
    assert!(compared >= 20);
}

/// Reads a line a page, folds them with the tool's own class, and prints the digest at each `end`.
const SCRIPT: &str = "
import sys
from sevsnpmeasure.gctx import GCTX
g = GCTX()
for line in sys.stdin:
    kind, gpa, data = line.split(' ')
    gpa, data = int(gpa, 16), bytes.fromhex(data)
    if kind == 'normal': g.update_normal_pages(gpa, data)
    elif kind == 'cpuid': g.update_cpuid_page(gpa)
    elif kind == 'secrets': g.update_secrets_page(gpa)
    elif kind == 'zero': g.update_zero_pages(gpa, 4096)
    elif kind == 'unmeasured': g.update_unmeasured_pages(gpa, 4096)
    elif kind == 'vmsa': g.update_vmsa_page(data)
    elif kind == 'end':
        print(g.ld().hex())
        g = GCTX()
";

/// The Python of an environment with sev-snp-measure, when there is one or it can be had.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sev-snp-measure");
    let python = folder.join("bin/python3");
    let works = || {
        let mut import = Command::new(&python);
        import.args(["-c", "import sevsnpmeasure"]);
        import.output().is_ok_and(|output| output.status.success())
    };
    if !works() {
        let venv = Command::new("python3").arg("-m").arg("venv").arg(&folder).output();
        venv.ok().filter(|output| output.status.success())?;
        let _ = Command::new(&python)
            .args(["-m", "pip", "install", "-q", "--timeout", "10", "--retries", "0"])
            .arg("sev-snp-measure==0.0.13")
            .output();
    }
    works().then_some(python)
}

#[test]
fn every_digest_equals_that_of_sev_snp_measure() {
    let all = ours();
    let Some(python) = python() else {
        println!("SKIPPED {} comparisons: sev-snp-measure cannot be installed", all.len());
        return;
    };
    let mut input = String::new();
    for (plan, _) in &all {
        let (pages, vcpus) = told(plan);
        for (gpa, kind, contents) in pages {
            writeln!(input, "{} {gpa:x} {}", kind.name(), hex(&contents)).unwrap();
        }
        for vcpu in vcpus {
            writeln!(input, "vmsa 0 {}", hex(&vcpu)).unwrap();
        }
        input.push_str("end 0 00\n");
    }
    let mut child = Command::new(python)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let theirs: Vec<&str> = output.lines().collect();
    let ours: Vec<&str> = all.iter().map(|(_, digest)| digest.as_str()).collect();
    assert_eq!(theirs, ours);
    println!("compared {} digests with sev-snp-measure", ours.len());
    assert!(ours.len() >= 20);
}
