//! Reports and ID blocks in the virtual SNP host: a stock Linux guest takes reports in both ways
//! that it has, and verifiers other than the one that signed them judge them. All of it is a MODEL:
//! the chain ends at a MODEL root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod common;

use base64ct::{Base64, Encoding};
use casemate_attestation::digest::{LaunchDigest, PageKind};
use casemate_attestation::idblock::{IdBlock, OwnerKey, authenticate};
use casemate_test_host::{Host, Kind};
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use sev::certs::snp::{Certificate, Chain, Verifiable, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "kernel = \"KERNEL\"\ninitrd = \"INITRD\"\nprotection = \"sev-snp\"\nmemory = \"192M\"\n\
    cmdline = \"console=ttyS0 panic=-1 quiet\"\n[[disk]]\npath = \"DISK\"\n[snp]\nc_bit = 39\n";

/// On a kernel without certificate exits a VM that wants to give certificates must not start.
const WITH_CERTIFICATES: &str = "(cat /vm.toml; echo 'certs = \"/table\"') >/certs.toml
    grep -q certs /vm.toml || { casemate run /certs.toml --policy /policy.toml 2>&1; echo \"with certificates: $?\"; }";

/// What the guest wrote between `BEGIN name` and `END name`.
fn blob(console: &str, name: &str) -> Vec<u8> {
    let start = format!("BEGIN {name}\n");
    let (_, rest) = console.split_once(&start).unwrap_or_else(|| panic!("no {name}:\n{console}"));
    let (text, _) = rest.split_once(&format!("END {name}\n")).expect("an end");
    Base64::decode_vec(&text.replace('\n', "")).expect("base64")
}

/// The chain that the host's chip signs under.
fn chain(model: &Path) -> Chain {
    let pem = fs::read_to_string(model.join("ark-ask.pem")).unwrap();
    let certificates: Vec<Certificate> = pem
        .split_inclusive("-----END CERTIFICATE-----")
        .filter(|part| part.contains("BEGIN"))
        .map(|part| Certificate::from_pem(part.trim().as_bytes()).expect("a certificate"))
        .collect();
    // ARK, ASK, ASVK
    let [ark, ask, _] = certificates.try_into().expect("three certificates");
    let vek = Certificate::from_der(&fs::read(model.join("vcek.der")).unwrap()).unwrap();
    Chain { ca: ca::Chain { ark, ask }, vek }
}

/// `casemate attest verify` with the chip's certificate: exit status and everything it said.
fn casemate_verify(program: &Path, report: &[u8], model: &Path, accept: bool) -> (i32, String) {
    verify_with(program, report, &["--cert".into(), model.join("vcek.der")], model, accept)
}

fn verify_with(
    program: &Path,
    report: &[u8],
    arguments: &[PathBuf],
    model: &Path,
    accept: bool,
) -> (i32, String) {
    let file = common::scratch("report");
    fs::write(&file, report).unwrap();
    let mut command = Command::new(program);
    command.args(["attest", "verify", "--authenticity-only"]).arg(&file).args(arguments);
    if accept {
        command.arg("--accept-model-root").arg(model.join("ark-ask.pem"));
    }
    let output = command.output().unwrap();
    fs::remove_file(&file).unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
}

/// What a guest that takes reports left behind.
struct Taken {
    /// Launch digest, as it was measured before.
    digest: String,
    /// What the guest found, from its disk, and what the program said on the host.
    said: String,
    /// The table of certificates that the host gives where it can.
    table: Vec<u8>,
    error_output: String,
}

/// Boots the guest that takes reports to its end.
fn take_reports(casemate: &Path, model: &Path) -> Taken {
    let host = Host::new(Kind::Snp).unwrap();
    let [initrd, config, disk, table] = ["initrd", "config", "disk", "table"].map(common::scratch);
    let taker = common::compile("guest", "guest_report", &["-static", "guest_report.c"]);
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("snp/guest");
    let made = Command::new(guest.join("mkinitrd"))
        .args([&initrd, &guest.join("report-init")])
        .arg(format!("{}=/bin/guest_report", taker.display()))
        .status();
    assert!(made.unwrap().success());
    fs::File::create(&disk).and_then(|file| file.set_len(1 << 20)).unwrap();
    make_table(casemate, model, &table);
    let configure = |kernel: &str, initrd: &str, table: &str, disk: &str| {
        let text = CONFIG.replace("KERNEL", kernel).replace("INITRD", initrd);
        let mut text = text.replace("DISK", disk);
        if common::kernel_7() {
            text.push_str(&format!("certs = \"{table}\"\n"));
        }
        fs::write(&config, text).unwrap();
    };
    let kernel = common::built().join("vmlinuz").canonicalize().unwrap();
    let here = [&kernel, &initrd, &table, &disk].map(|path| path.to_str().unwrap());
    configure(here[0], here[1], here[2], here[3]);
    let measured = Command::new(casemate).arg("measure").arg(&config).output().unwrap();
    let digest = String::from_utf8(measured.stdout).unwrap().trim().to_owned();
    configure("/k/vmlinuz", "/initrd", "/table", "/disk");
    let output = host
        .file(casemate, "/bin/casemate")
        .file(&config, "/vm.toml")
        .file(&initrd, "/initrd")
        .file(&table, "/table")
        .file(&disk, "/disk")
        .get("/disk", &disk)
        .timeout(Duration::from_secs(400))
        .run(&format!(
            "{WITH_CERTIFICATES}; casemate run /vm.toml --policy /policy.toml --timeout 300s"
        ))
        .unwrap();
    let results = String::from_utf8_lossy(&fs::read(&disk).unwrap()).into_owned();
    let results = results.trim_end_matches('\0');
    assert!(results.ends_with("\nend\n"), "{results}\n{}\n{}", output.stdout, output.stderr);
    let said = format!("{results}{}", output.stdout.replace('\r', ""));
    let table_bytes = fs::read(&table).unwrap();
    for path in [&initrd, &config, &disk, &table, &taker] {
        fs::remove_file(path).unwrap();
    }
    Taken { digest, said, table: table_bytes, error_output: output.stderr }
}

#[test]
fn reports_of_a_stock_guest_verify_up_to_the_model_root_in_two_independent_verifiers() {
    let programs = common::static_programs();
    let casemate = programs.join("casemate");
    let model = common::shared().join("snp-model");
    let Taken { digest, said: console, table, error_output } = take_reports(&casemate, &model);
    let said = |what: &str| assert!(console.contains(what), "{what}:\n{console}\n{error_output}");
    said("Memory Encryption Features active: AMD SEV SEV-ES SEV-SNP");

    let chain = chain(&model);
    for (name, vmpl, data) in [
        ("tsm", 0, [b'0'; 63].as_slice()),
        ("tsm-vmpl1", 1, &[b'0'; 63]),
        ("report", 0, b"from /dev/sev-guest"),
        ("extended", 0, b"from /dev/sev-guest"),
    ] {
        let report = blob(&console, name);
        let parsed = AttestationReport::from_bytes(&report).unwrap();
        (&chain, &parsed).verify().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(casemate_attestation::hex::encode(&parsed.measurement), digest, "{name}");
        assert_eq!(parsed.vmpl, vmpl, "{name}");
        assert_eq!(&parsed.report_data[..data.len()], data, "{name}");
        if vmpl == 0 {
            let (status, said) = casemate_verify(&casemate, &report, &model, true);
            assert!(status == 0 && said.contains("MODEL"), "{name}: {status} {said}");
            assert_eq!(casemate_verify(&casemate, &report, &model, false).0, 1, "{name}: no root");
        }
        // Neither takes it when a bit of the measurement is another.
        let mut forged = report.clone();
        forged[0x90] ^= 1;
        let parsed = AttestationReport::from_bytes(&forged).unwrap();
        assert!((&chain, &parsed).verify().is_err(), "{name}");
        assert_eq!(casemate_verify(&casemate, &forged, &model, true).0, 1, "{name}");
    }
    // Firmware ABI 7.3: a VMPL that does not exist is refused in the message (INVALID_PARAM).
    said("status of VMPL 9: 22");
    // ABI 7.2: derived keys are the guest's own, and depend on what was selected.
    said("same key again: 1");
    said("same key with the measurement: 0");
    assert!(blob(&console, "key").iter().any(|b| *b != 0));
    if common::kernel_7() {
        certificates_come_with_the_report(&casemate, &model, &console, &table);
    } else {
        // GHCB 4.1.8 as KVM of 6.12 serves it: an empty certificate table, no certificates needed.
        assert_eq!(blob(&console, "certificates")[..24], [0; 24]);
        said("certificates need 0 bytes");
        said("this host's KVM never asks for certificates");
        said("with certificates: 1");
    }
}

/// The table that `snp.certs` names: the MODEL chip's certificate and its issuers.
fn make_table(casemate: &Path, model: &Path, table: &Path) {
    let output = Command::new(casemate)
        .args(["attest", "table", "--out"])
        .args([table, &model.join("vcek.der"), &model.join("ark-ask.pem")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// GHCB 4.1.8 as KVM of 7.x serves it: the VMM gives the table, or says how many pages it needs.
fn certificates_come_with_the_report(casemate: &Path, model: &Path, console: &str, table: &[u8]) {
    let pages = table.len().div_ceil(4096) * 4096;
    assert!(pages > 4096 && console.contains(&format!("certificates need {pages} bytes")));
    assert!(console.contains(&format!("with room for 4096 they need {pages} bytes")), "{console}");
    let (report, certificates) = (blob(console, "extended"), blob(console, "certificates"));
    assert_eq!(certificates[..table.len()], *table);
    assert!(certificates[table.len()..].iter().all(|byte| *byte == 0), "nothing of the host's");
    // The extended report alone is enough, and only under a root that is accepted.
    let extended = [report, certificates].concat();
    let (status, said) = verify_with(casemate, &extended, &[], model, true);
    assert!(status == 0 && said.contains("MODEL"), "{status} {said}");
    assert_eq!(verify_with(casemate, &extended, &[], model, false).0, 1, "no root");
    // The same through configfs-tsm.
    let auxblob = common::scratch("auxblob");
    fs::write(&auxblob, blob(console, "auxblob")).unwrap();
    let (report, aux) = (blob(console, "tsm"), ["--aux".into(), auxblob.clone()]);
    let (status, said) = verify_with(casemate, &report, &aux, model, true);
    fs::remove_file(&auxblob).unwrap();
    assert!(status == 0 && said.contains("MODEL"), "{status} {said}");
    // Without any certificate nothing can be said of a report.
    assert_eq!(verify_with(casemate, &report, &[], model, true).0, 1);
}

fn key() -> OwnerKey {
    let random = ring::rand::SystemRandom::new();
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    OwnerKey::from_pkcs8(der.as_ref()).unwrap()
}

#[test]
fn a_signed_id_block_is_taken_and_wrong_ones_are_refused_with_the_firmwares_codes() {
    let host = Host::new(Kind::Snp).unwrap();
    // What vmm.c launches: one page of zeros at 0x1000, and no vCPU.
    let mut digest = LaunchDigest::new();
    digest.page(PageKind::Normal, 0x1000, &[0; 4096]);
    let good = IdBlock {
        launch_digest: digest.current(),
        family_id: [1; 16],
        image_id: [2; 16],
        guest_svn: 3,
        policy: 0x30000,
    };
    let (id_key, author) = (key(), key());
    let directory = common::scratch("id-blocks");
    fs::create_dir_all(&directory).unwrap();
    let put = |name: &str, block: &IdBlock, author: Option<&OwnerKey>, flip: Option<usize>| {
        let mut auth = authenticate(block, &id_key, author).unwrap();
        if let Some(at) = flip {
            auth[at] ^= 1;
        }
        fs::write(directory.join(format!("{name}.block")), block.to_bytes()).unwrap();
        fs::write(directory.join(format!("{name}.auth")), auth).unwrap();
    };
    put("good", &good, None, None);
    put("author", &good, Some(&author), None);
    // The first byte of the signature of the block, and of the key.
    put("bad-signature", &good, None, Some(0x40));
    put("bad-author", &good, Some(&author), Some(0x680));
    put("other-digest", &IdBlock { launch_digest: [9; 48], ..good }, None, None);
    put("other-policy", &IdBlock { policy: 0xb0000, ..good }, None, None);
    let program = common::compile_vmm("id-blocks-vmm");
    let output = host
        .file(&program, "/bin/vmm")
        .directory(&directory, "/id")
        .timeout(Duration::from_secs(180))
        .run("vmm id=/id")
        .unwrap();
    fs::remove_file(&program).unwrap();
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(output.status, 0, "{}\n{}", output.stdout, output.log);
    assert_eq!(output.stdout.matches("ok   ABI 8.18 ID block").count(), 6, "{}", output.stdout);
}
