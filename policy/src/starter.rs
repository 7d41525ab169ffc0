//! The starter policy of `casemate policy init`: every field with its default and what it is for.

use crate::document::{ENGINE_VERSION, SCHEMA_VERSION};
use crate::fields::{Field, GRANT_FIELDS, Point, SECTIONS};

/// A strict policy with comments: loads as it is, and admits only what the defaults admit.
#[must_use]
pub fn starter() -> String {
    let mut out = format!(
        "# A policy says what may run on a host and what a guest may do. Everything here is at its strictest:\n\
         # \"nothing\" admits nothing. Put in what you need, then run\n\
         #   casemate policy check FILE    contradictions\n\
         #   casemate policy lint FILE     risky choices\n\
         #   casemate policy test FILE     the cases in FILE's .cases.toml\n\n\
         schema_version = {SCHEMA_VERSION}\nmin_engine = \"{ENGINE_VERSION}\"\nname = \"starter\"\n"
    );
    for (section, about) in SECTIONS {
        // Secrets are shown as comments: a grant that nobody asked for must not be there.
        if section == "secrets" {
            out.push_str(&format!("\n# {about} No grant: no secret is released.\n"));
            out.push_str("# [secrets.\"db/*\"]\n");
            for field in GRANT_FIELDS {
                comment(&mut out, field);
                out.push_str(&format!("# {} = {}\n", field.name(), field.default));
            }
            continue;
        }
        out.push_str(&format!("\n# {about}\n[{section}]\n"));
        let prefix = format!("{section}.");
        for field in Point::ALL.into_iter().flat_map(Point::fields) {
            if let Some(name) = field.path.strip_prefix(&prefix) {
                comment(&mut out, field);
                out.push_str(&format!("{name} = {}\n", field.default));
            }
        }
    }
    out
}

fn comment(out: &mut String, field: &Field) {
    out.push_str(&format!("# {}\n#   {}\n", field.meaning, field.kind.syntax()));
}
