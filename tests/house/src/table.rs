//! The tables of ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

/// Rows of one table: what its first column names, to what its second column names.
pub type Rows = BTreeMap<String, BTreeSet<String>>;

/// The table whose columns are `first` and `second`; a name is what stands between backticks.
#[must_use]
pub fn rows(document: &str, first: &str, second: &str) -> Rows {
    let header = format!("| {first} | {second} |");
    let mut lines = document.lines().skip_while(|line| !line.starts_with(&header)).skip(2);
    let mut rows = Rows::new();
    for line in lines.by_ref().take_while(|line| line.starts_with('|')) {
        let mut columns = line.trim_matches('|').split('|');
        let (Some(place), Some(others)) = (columns.next(), columns.next()) else { continue };
        let others: BTreeSet<String> = names(others).collect();
        for place in names(place) {
            rows.entry(place).or_default().extend(others.iter().cloned());
        }
    }
    rows
}

/// What the first column of the table with this first column names, in the order of its rows: each
/// row's names are one floor.
#[must_use]
pub fn floors(document: &str, first: &str) -> Vec<Vec<String>> {
    let header = format!("| {first} |");
    let lines = document.lines().skip_while(|line| !line.starts_with(&header)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    // In the map a folder ends with a slash.
    let name = |name: String| name.trim_end_matches('/').to_owned();
    rows.map(|row| {
        let column = row.trim_matches('|').split('|').next().unwrap_or_default();
        names(column).map(name).collect()
    })
    .collect()
}

fn names(column: &str) -> impl Iterator<Item = String> + '_ {
    column.split('`').skip(1).step_by(2).map(str::to_owned)
}
