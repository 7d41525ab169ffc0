//! What a stock Linux makes of a host's events, as SECURITY.md says it. Protects: that its table is
//! what `inject-table` makes of the records of the sweeps, and that both kernels were given each of
//! the 256 interrupts and the NMI, in both modes. Cannot tell: whether a sweep would find the same
//! today.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// What the script prints of these records, each under its name.
fn table(records: &[&str]) -> String {
    let found = root().join("tests/host/snp/sweep/found");
    let mut command = Command::new(root().join("tests/host/snp/inject-table"));
    command.args(records.iter().map(|name| format!("{name}={}", found.join(name).display())));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_table_of_events_for_linux_is_what_the_sweeps_found() {
    let document = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let expected = table(&["6.12", "7.3"]);
    assert!(document.contains(&expected), "SECURITY.md has another table than:\n{expected}");
}

#[test]
fn both_kernels_were_given_every_interrupt_and_the_nmi() {
    let table = table(&["6.12", "7.3"]);
    let vectors = |row: &str| -> Option<usize> {
        let mut columns = row.split('|').map(str::trim).skip(1);
        let kind = columns.next()?;
        if kind == "NMI" {
            return Some(1);
        }
        let number = |hex: &str| usize::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap();
        let range = |part: &str| match part.split_once(" to ") {
            Some((first, last)) => number(last) - number(first) + 1,
            None => 1,
        };
        (kind == "interrupt").then(|| columns.next().unwrap().split(", ").map(range).sum())
    };
    let asked = table.lines().filter(|row| !row.contains("not run")).filter_map(vectors);
    assert_eq!(asked.sum::<usize>(), 257, "{table}");
}
