//! `casemate attest` and `casemate measure` as processes: exit status and output.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

mod certs;
mod ear;
mod measure;
mod verify;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(name)
}

fn scratch(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()))
}

fn casemate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate")).args(arguments).output().unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs, checks the exit status, and returns stdout and stderr.
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = casemate(arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// The four demands on the Genoa vector with a current list, and the options that go with them.
fn all_demands() -> (PathBuf, Vec<String>) {
    let bytes = std::fs::read(vector("reports/oak_genoa_oc.bin")).unwrap();
    let hex = |from: usize, length: usize| -> String {
        bytes.iter().skip(from).take(length).map(|byte| format!("{byte:02x}")).collect()
    };
    let policy = scratch("demands");
    let text = format!(
        "measurements = ['{}']\ntcb.genoa.reported = {{ snp = 1 }}\nrequire-crl = true\n",
        hex(0x90, 48)
    );
    std::fs::write(&policy, text).unwrap();
    let mut arguments: Vec<String> = ["attest", "verify"].map(str::to_owned).to_vec();
    for file in
        ["reports/oak_genoa_oc.bin", "reports/oak_genoa_oc.vcek.der", "crls/genoa_crl_4.der"]
    {
        arguments.push(path(&vector(file)).to_owned());
    }
    arguments.insert(3, "--cert".to_owned());
    arguments.insert(5, "--crl".to_owned());
    let rest = ["--at", "2025-10-01", "--report-data", &hex(0x50, 64), "--policy", path(&policy)];
    arguments.extend(rest.map(str::to_owned));
    (policy, arguments)
}
