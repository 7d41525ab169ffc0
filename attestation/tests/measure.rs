//! Launch digests against the golden values of sev-snp-measure, the tool itself, and crate `igvm`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use casemate_attestation::digest::{LaunchDigest, PageKind};
use casemate_attestation::hex::encode;
use casemate_attestation::measure::{
    KernelHashes, Machine, MeasureError, Ovmf, Vmm, cpu_model, cpu_signature, igvm_launch,
};
use std::process::Command;

fn vmm(name: &str) -> Vmm {
    match name {
        "QEMU" => Vmm::Qemu,
        "ec2" => Vmm::Ec2,
        "gce" => Vmm::Gce,
        other => panic!("{other}"),
    }
}

fn number(text: &serde_json::Value) -> u64 {
    text.as_str().map_or(0, |t| u64::from_str_radix(t.trim_start_matches("0x"), 16).unwrap())
}

#[test]
fn every_golden_launch_digest_is_reproduced() {
    let golden: serde_json::Value =
        serde_json::from_slice(&common::read("measure/launch_digests.json")).unwrap();
    let list = golden["launch_digests"].as_array().unwrap();
    assert_eq!(list.len(), 12);
    for entry in list {
        let image = common::read(&format!("measure/{}", entry["ovmf"].as_str().unwrap()));
        let machine = Machine {
            vmm: vmm(entry["vmm"].as_str().unwrap()),
            ovmf: Ovmf::parse(&image).unwrap(),
            vcpus: entry["vcpus"].as_u64().unwrap() as u32,
            signature: number(&entry["cpu_sig"]) as u32,
            sev_features: number(&entry["guest_features"]),
            hashes: entry["kernel"]
                .as_str()
                .map(|_| KernelHashes::new(b"", b"", entry["append"].as_str().unwrap())),
        };
        let name = &entry["name"];
        let digest = machine.launch_digest().unwrap();
        assert_eq!(encode(&digest), entry["launch_digest"].as_str().unwrap(), "{name}");
        if let Some(cpu) = entry["cpu"].as_str() {
            assert_eq!(cpu_model(cpu), Some(machine.signature), "{name}");
        }
    }
}

#[test]
fn every_cpu_name_of_qemu_has_the_signature_of_its_model_and_no_other_has_one() {
    for (name, family, model, stepping) in [
        ("EPYC", 0x17, 1, 2),
        ("EPYC-IBPB", 0x17, 1, 2),
        ("EPYC-v5", 0x17, 1, 2),
        ("EPYC-Rome-v4", 0x17, 49, 0),
        ("EPYC-Rome-v5", 0x17, 49, 0),
        ("EPYC-Milan-v3", 0x19, 1, 1),
        ("EPYC-Genoa-v2", 0x19, 17, 0),
        ("EPYC-Turin", 0x1a, 0, 0),
        ("EPYC-Turin-v1", 0x1a, 0, 0),
        ("EPYC-Turin-v2", 0x1a, 0, 0),
    ] {
        assert_eq!(cpu_model(name), Some(cpu_signature(family, model, stepping)), "{name}");
    }
    for name in ["EPYC-v6", "EPYC-v0", "EPYC-v01", "EPYC-v+1", "EPYC-Turin-v3", "EPYC-", "epyc", ""]
    {
        assert_eq!(cpu_model(name), None, "{name}");
    }
}

#[test]
fn every_golden_chain_step_is_reproduced() {
    let golden: serde_json::Value =
        serde_json::from_slice(&common::read("measure/launch_digests.json")).unwrap();
    let step = |kind, gpa, pages: &[u8]| {
        let mut digest = LaunchDigest::new();
        digest.pages(kind, gpa, pages).unwrap();
        encode(&digest.finish())
    };
    let two: Vec<u8> = [[0u8; 4096], [0xff; 4096]].concat();
    let expected: Vec<_> = golden["gctx_chain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["ld"].as_str().unwrap())
        .collect();
    let got = [
        encode(&[0; 48]),
        step(PageKind::Normal, 0, &[0; 4096]),
        step(PageKind::Normal, 0x1000, &two),
        step(PageKind::Vmsa, 0xffff_ffff_f000, &[0; 4096]),
        step(PageKind::Zero, 0x2000, &[0; 0x3000]),
        step(PageKind::Unmeasured, 0x3000, &[0; 4096]),
        step(PageKind::Secrets, 0x4000, &[0; 4096]),
        step(PageKind::Cpuid, 0x5000, &[0; 4096]),
    ];
    assert_eq!(got.as_slice(), expected.as_slice());
}

#[test]
fn a_kernel_without_a_place_for_its_hashes_is_refused() {
    let image = common::read("measure/ovmf_OvmfX64_suffix.bin");
    let machine = Machine {
        vmm: Vmm::Qemu,
        ovmf: Ovmf::parse(&image).unwrap(),
        vcpus: 1,
        signature: 0,
        sev_features: 1,
        hashes: Some(KernelHashes::new(b"", b"", "")),
    };
    assert!(matches!(machine.launch_digest(), Err(MeasureError::NoKernelHashes)));
    let none = Machine { vcpus: 0, hashes: None, ..machine };
    assert!(matches!(none.launch_digest(), Err(MeasureError::Vcpus(0))));
}

#[test]
fn damaged_firmware_images_are_errors() {
    let image = common::read("measure/ovmf_AmdSev_suffix.bin");
    for length in [0, 1, 31, 50, 4095] {
        assert!(Ovmf::parse(&image[..length]).is_err());
    }
    // Whatever byte of the tables changes, the outcome is a value, not a panic.
    for offset in 3000..4096 {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = image.clone();
            damaged[offset] = value;
            let _ = Ovmf::parse(&damaged).map(|ovmf| ovmf.sections.len());
        }
    }
}

/// The Python tool, when it is installed or can be.
fn tool() -> Option<std::path::PathBuf> {
    let python = |folder: &std::path::Path| folder.join("bin/python3");
    let works = |python: &std::path::Path| {
        Command::new(python)
            .args(["-c", "import sevsnpmeasure"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("sev-snp-measure");
    if !works(&python(&folder)) {
        let venv = Command::new("python3").arg("-m").arg("venv").arg(&folder).output();
        venv.ok().filter(|output| output.status.success())?;
        let _ = Command::new(python(&folder))
            .args(["-m", "pip", "install", "-q", "--timeout", "10", "--retries", "0"])
            .arg("sev-snp-measure==0.0.13")
            .output();
    }
    works(&python(&folder)).then(|| python(&folder))
}

#[test]
fn digests_equal_those_of_sev_snp_measure() {
    // The last number: pages before the firmware's tables, so that lanes, blocks and threads are
    // full, and not.
    let cases = [
        ("QEMU", "AmdSev", 1, "EPYC-v4", "0x1", Some("console=ttyS0"), 0),
        ("QEMU", "AmdSev", 3, "EPYC-Milan", "0x21", None, 7),
        ("QEMU", "OvmfX64", 5, "EPYC-Genoa", "0x1", None, 8),
        ("QEMU", "OvmfX64", 2, "EPYC-Turin", "0x21", None, 13),
        ("ec2", "AmdSev", 4, "EPYC-v4", "0x1", Some("quiet"), 63),
        ("ec2", "OvmfX64", 1, "EPYC-v4", "0x1", None, 64),
        ("gce", "AmdSev", 8, "EPYC-v4", "0x1", None, 130),
        ("gce", "OvmfX64", 2, "EPYC-Milan", "0x1", None, 1023),
    ];
    let Some(python) = tool() else {
        println!("skipped {} comparisons: sev-snp-measure cannot be installed", cases.len());
        return;
    };
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (kernel, file) = (folder.join("kernel"), folder.join("firmware"));
    std::fs::write(&kernel, b"a kernel").unwrap();
    for (kind, firmware, vcpus, cpu, features, append, pages) in cases {
        let mut image: Vec<u8> = (0..pages * 4096)
            .map(|at: usize| (at.wrapping_mul(31) >> 7).to_le_bytes()[0])
            .collect();
        image.extend(common::read(&format!("measure/ovmf_{firmware}_suffix.bin")));
        std::fs::write(&file, &image).unwrap();
        let mut command = Command::new(&python);
        command
            .args(["-m", "sevsnpmeasure.cli", "--mode", "snp", "--vmm-type", kind])
            .args(["--vcpus", &vcpus.to_string(), "--vcpu-type", cpu, "--guest-features", features])
            .arg("--ovmf")
            .arg(&file);
        if let Some(append) = append {
            command.arg("--kernel").arg(&kernel).args(["--append", append]);
        }
        let output = command.output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let machine = Machine {
            vmm: vmm(kind),
            ovmf: Ovmf::parse(&image).unwrap(),
            vcpus,
            signature: cpu_model(cpu).unwrap(),
            sev_features: u64::from_str_radix(&features[2..], 16).unwrap(),
            hashes: append.map(|append| KernelHashes::new(b"a kernel", b"", append)),
        };
        let ours = encode(&machine.launch_digest().unwrap());
        assert_eq!(ours, theirs.trim(), "{kind} {firmware} {vcpus} {cpu}: {errors}");
    }
    println!("compared {} digests with sev-snp-measure", cases.len());
}

mod igvm_files {
    //! IGVM files made and measured by crate `igvm`.

    use super::{encode, igvm_launch};
    use igvm::{
        IgvmDirectiveHeader, IgvmFile, IgvmInitializationHeader, IgvmPlatformHeader, IgvmRevision,
        measurement::generate_snp_measurement, snp_defs::SevVmsa,
    };
    use igvm_defs::{
        IGVM_VHS_PARAMETER, IGVM_VHS_PARAMETER_INSERT, IGVM_VHS_SUPPORTED_PLATFORM,
        IgvmPageDataFlags, IgvmPageDataType, IgvmPlatformType,
    };
    use zerocopy::FromZeros;

    fn page(
        gpa: u64,
        mask: u32,
        kind: IgvmPageDataType,
        flags: IgvmPageDataFlags,
        data: Vec<u8>,
    ) -> IgvmDirectiveHeader {
        IgvmDirectiveHeader::PageData {
            gpa,
            compatibility_mask: mask,
            flags,
            data_type: kind,
            data,
        }
    }

    fn file() -> IgvmFile {
        let platform = IgvmPlatformHeader::SupportedPlatform(IGVM_VHS_SUPPORTED_PLATFORM {
            compatibility_mask: 1,
            highest_vtl: 0,
            platform_type: IgvmPlatformType::SEV_SNP,
            platform_version: 1,
            shared_gpa_boundary: 0,
        });
        let policy =
            IgvmInitializationHeader::GuestPolicy { policy: 0x3001f, compatibility_mask: 1 };
        let none = IgvmPageDataFlags::new();
        let mut vmsa = SevVmsa::new_box_zeroed().unwrap();
        vmsa.rip = 0xfff0;
        vmsa.virtual_tom = 0x1234;
        let directives = vec![
            IgvmDirectiveHeader::ParameterArea {
                number_of_bytes: 0x3000,
                parameter_area_index: 0,
                initial_data: vec![],
            },
            page(0x1000, 1, IgvmPageDataType::NORMAL, none, vec![7; 4096]),
            page(0x2000, 1, IgvmPageDataType::NORMAL, none, vec![]),
            page(0x3000, 1, IgvmPageDataType::NORMAL, none.with_unmeasured(true), vec![1; 4096]),
            page(0x4000, 1, IgvmPageDataType::SECRETS, none, vec![]),
            page(0x5000, 1, IgvmPageDataType::CPUID_DATA, none, vec![2; 4096]),
            page(0x6000, 1, IgvmPageDataType::NORMAL, none.with_shared(true), vec![3; 4096]),
            IgvmDirectiveHeader::VpCount(IGVM_VHS_PARAMETER {
                parameter_area_index: 0,
                byte_offset: 0,
            }),
            IgvmDirectiveHeader::ParameterInsert(IGVM_VHS_PARAMETER_INSERT {
                gpa: 0x10000,
                compatibility_mask: 1,
                parameter_area_index: 0,
            }),
            IgvmDirectiveHeader::SnpVpContext {
                gpa: 0xffff_ffff_f000,
                compatibility_mask: 1,
                vp_index: 0,
                vmsa,
            },
        ];
        IgvmFile::new(IgvmRevision::V1, vec![platform], vec![policy], directives).unwrap()
    }

    fn bytes() -> Vec<u8> {
        let mut out = Vec::new();
        file().serialize(&mut out).unwrap();
        out
    }

    #[test]
    fn the_digest_equals_that_of_crate_igvm_and_the_policy_is_the_files() {
        let parsed = IgvmFile::new_from_binary(&bytes(), None).unwrap();
        let theirs =
            generate_snp_measurement(parsed.initializations(), parsed.directives(), 1).unwrap();
        let ours = igvm_launch(&bytes()).unwrap();
        assert_eq!(encode(&ours.digest), encode(&theirs));
        assert_eq!(ours.policy, 0x3001f);
    }

    #[test]
    fn a_damaged_file_is_an_error_at_an_offset() {
        let good = bytes();
        for length in [0, 3, 4, 20, 23, 24, 30, good.len() - 1] {
            assert!(igvm_launch(&good[..length]).is_err(), "{length}");
        }
        let end = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap()) as usize;
        for offset in 0..end(8) + end(12) {
            let mut damaged = good.clone();
            damaged[offset] ^= 0x41;
            assert!(igvm_launch(&damaged).is_err(), "the checksum covers offset {offset:#x}");
        }
    }
}
