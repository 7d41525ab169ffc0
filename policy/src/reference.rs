//! The field reference, in Markdown, from the field table.

use crate::document::{
    ENGINE_VERSION, MAX_BLOCKS, MAX_DEPTH, MAX_DOCUMENT, MAX_ERRORS, MAX_GRANTS, MAX_MEMBERS,
    MAX_TEXT,
};
use crate::fields::{Field, GRANT_FIELDS, Key, Point, SECTIONS};
use crate::input::{COMMAND_LINE, fact_syntax};

const SECRETS: &str = "
A table of grants: `[secrets.\"db/key/*\"]` releases every resource that begins with `db/key/`. Grants must not
overlap. A resource without a grant is never released.

### `secrets.resource`

The name of the secret, as the key broker protocol has it: `repository/type/tag`, three segments, each of
`A-Z a-z 0-9 _ -` and, not first, `.`; at most 1024 bytes. Any other text (`db/../other/key`, a line feed, an
empty segment) is no name and is denied, whatever the grants say. A grant is such a name, or a beginning of one
and a `*`.

- Fact: `secrets.resource`: a text
- Decided at: `secrets`
";

/// The reference of every field, in the order of documents.
#[must_use]
pub fn reference() -> String {
    let mut out = format!(
        "# Policy fields\n\n\
         Generated from the field table of the policy engine, version {ENGINE_VERSION}, by `casemate policy reference`.\n\
         A test compares it with the table.\n\n\
         A document is TOML or JSON. It begins with `schema_version = 1` and `min_engine`; `name` and `description` are\n\
         free text; `layer = true` makes it a layer that leaves unstated fields to the policy it is merged with.\n\
         Every field may be `\"any\"` (everything is admitted) or `\"nothing\"`. A field that is not stated has its\n\
         default. Unknown keys, names and bits are errors. Patterns are anchored: a text, or a text with one `*` at\n\
         its end. Nothing else is a wildcard: `?`, `[a-z]` and `{{a,b}}` stand for themselves.\n\n\
         `Enforced by` names the part that asks the engine and acts on its answer. It comes from one table of the\n\
         code; tests build, for every field, a policy that this field alone refuses, and show that the part refuses.\n\n\
         Limits: {MAX_DOCUMENT} bytes, {MAX_DEPTH} nested tables or lists, {MAX_MEMBERS} members of a list, {MAX_TEXT} bytes of a\n\
         text, {MAX_BLOCKS} egress blocks, {MAX_GRANTS} grants, {MAX_ERRORS} errors shown.\n"
    );
    for (section, about) in SECTIONS {
        out.push_str(&format!("\n## `[{section}]`\n\n{about}\n"));
        if section == "secrets" {
            out.push_str(SECRETS);
            for field in GRANT_FIELDS {
                write_field(&mut out, field, Point::Secrets);
            }
            continue;
        }
        let prefix = format!("{section}.");
        for point in Point::ALL {
            for field in point.fields().iter().filter(|field| field.path.starts_with(&prefix)) {
                write_field(&mut out, field, point);
            }
        }
    }
    out
}

fn write_field(out: &mut String, field: &Field, point: Point) {
    out.push_str(&format!("\n### `{}`\n\n{}\n\n", field.path, field.meaning));
    let mut row = |name: &str, value: &str| out.push_str(&format!("- {name}: {value}\n"));
    row("Value", &field.kind.syntax());
    row("Order", field.kind.order());
    row("Default", &format!("`{}`", field.default));
    row("Decided at", &format!("`{point}`"));
    // A setting constrains no fact, so it has no line for one.
    if field.key != Key::Setting {
        row(
            "Fact",
            &match field.key {
                Key::LaunchCmdline => format!("`{}`: {COMMAND_LINE}", field.key.path()),
                key => format!(
                    "`{}`: {}{}",
                    key.path(),
                    if field.kind.is_list() { "a list, each " } else { "" },
                    fact_syntax(field.kind)
                ),
            },
        );
    }
    row("Enforced by", field.enforced_by);
    row("Without it", field.without);
}
