//! The README lists every check, in order, with the texts of the code.
#![allow(clippy::unwrap_used)]

use attestation::verify::Code;

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
fn the_policy_of_the_readme_is_a_policy() {
    let readme = include_str!("../README.md");
    let start = readme.find("    generations = ").unwrap();
    let text: String = readme[start..]
        .lines()
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    let text = text.replace("<96 hex digits>", &"00".repeat(48));
    attestation::verify::Appraisal::from_toml(&text).unwrap();
}
