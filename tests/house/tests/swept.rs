//! What a stock Linux makes of a host's events, as SECURITY.md says it. Protects: that its tables
//! are what `inject-table` makes of the records of the sweeps, and that both kernels were given
//! each of the 256 interrupts and the NMI, in both modes. Cannot tell: whether a sweep would find
//! the same today.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// The records that are one table each: heading of its columns, file.
const TABLES: [&[(&str, &str)]; 3] = [
    &[("6.12", "6.12"), ("7.3", "7.3")],
    &[("6.12, 32-bit calls", "6.12-ia32"), ("7.3, 32-bit calls", "7.3-ia32")],
    &[("6.12, 2 vCPUs", "6.12-2")],
];

/// What the script prints of these records, each under its name.
fn table(records: &[(&str, &str)]) -> String {
    let found = root().join("tests/host/snp/sweep/found");
    let mut command = Command::new(root().join("tests/host/snp/inject-table"));
    let item = |(name, file): &(&str, &str)| format!("{name}={}", found.join(file).display());
    let output = command.args(records.iter().map(item)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_tables_of_events_for_linux_are_what_the_sweeps_found() {
    let document = std::fs::read_to_string(root().join("SECURITY.md")).unwrap();
    for records in TABLES {
        let expected = table(records);
        assert!(document.contains(&expected), "SECURITY.md has another table than:\n{expected}");
    }
}

#[test]
fn every_record_of_a_sweep_is_in_a_table() {
    let mut kept: Vec<String> = std::fs::read_dir(root().join("tests/host/snp/sweep/found"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    kept.sort();
    let mut shown: Vec<&str> = TABLES.concat().iter().map(|(_, file)| *file).collect();
    shown.sort_unstable();
    assert_eq!(kept, shown);
}

#[test]
fn both_kernels_were_given_every_interrupt_and_the_nmi() {
    let table = table(TABLES[0]);
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
