//! The README lists every check, in order, with the texts of the code.
#![allow(clippy::unwrap_used)]

use casemate_attestation::verify::{Appraisal, Code};

#[test]
fn the_table_of_codes_is_complete_and_in_order() {
    let readme = include_str!("../README.md");
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `")).collect();
    let wanted: Vec<String> = Code::ALL
        .iter()
        .map(|code| format!("| `{code}` | {} | {} |", code.title(), code.remedy()))
        .collect();
    assert_eq!(rows, wanted);
}

#[test]
fn the_policy_of_the_readme_is_a_policy_with_every_key() {
    let readme = include_str!("../README.md");
    let start = readme.find("    generations = ").unwrap();
    let text: String = readme[start..]
        .lines()
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let mut digits = text.clone();
    for count in [32, 64, 96, 128] {
        digits = digits.replace(&format!("<{count} hex digits>"), &"0".repeat(count));
    }
    let appraisal = Appraisal::from_toml(&digits).unwrap();
    let keys = serde_json::to_value(&appraisal).unwrap();
    let tables = ["/guest-policy", "/platform", "/tcb", "/tcb/turin", "/tcb/turin/reported"];
    let tables = tables.map(|table| keys.pointer(table).unwrap());
    for (key, value) in
        std::iter::once(&keys).chain(tables).flat_map(|table| table.as_object().unwrap())
    {
        let named = text.contains(key) || ["milan", "genoa", "venice"].contains(&key.as_str());
        assert!(named, "{key} = {value} is not in the README");
    }
}
