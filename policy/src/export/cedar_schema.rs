//! The Cedar schema: which attributes a request of each point has.

use crate::fields::{GRANT_FIELDS, Key, Kind, Point};

/// A fact's path as a Cedar attribute.
pub(super) fn attribute(path: &str) -> String {
    // Cedar's attributes are identifiers; no two paths differ in dots alone.
    path.replace('.', "_")
}

/// Whether the fact is a list whose elements are attributes of their own.
pub(super) const fn by_element(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Names { list: true }
            | Kind::NamesForbidden
            | Kind::NamesRequired
            | Kind::Roots(_)
            | Kind::Egress
    )
}

/// How many elements of such a list one request can hold: more words than a command line that
/// people write has, more devices than a guest has. Every slot repeats the rule, so these are no
/// larger than that.
#[must_use]
pub const fn slots(kind: Kind) -> usize {
    match kind {
        Kind::Egress => 8,
        Kind::Roots(_) => 32,
        _ => 64,
    }
}

/// The type of one element of a list.
const fn element_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Egress => "{ address: ipaddr, port: Long, protocol: String }",
        _ => "String",
    }
}

/// The type of a fact in the Cedar schema.
fn cedar_type(kind: Kind) -> String {
    let name = match kind {
        // A record with a slot for each element, since Cedar's sets can be asked for membership and
        // not for patterns.
        list if by_element(list) => {
            let element = element_type(list);
            let elements: String =
                (0..slots(list)).map(|slot| format!(", e{slot}?: {element}")).collect();
            return format!("{{ count: Long{elements} }}");
        }
        Kind::Flag => "Bool",
        Kind::FlagEach => "Set<Bool>",
        Kind::Choice(_)
        | Kind::BytesAllowed(_)
        | Kind::BytesDenied(_)
        | Kind::HostData
        | Kind::Names { .. } => "String",
        Kind::Bits(_) => "Set<String>",
        Kind::Tcb => {
            "{ generation: String, fmc: Long, bootloader: Long, tee: Long, snp: Long, \
             microcode: Long }"
        }
        Kind::Limit => "{ in_second: Long, total: Long }",
        // Everything else is a number: versions packed, times as seconds, levels by their index,
        // lists of numbers by their greatest.
        _ => "Long",
    };
    name.into()
}

/// The Cedar schema of every policy's export.
#[must_use]
pub fn cedar_schema() -> String {
    let mut out = String::from("entity Host;\nentity Guest;\n");
    let applies = "appliesTo { principal: [Host], resource: [Guest], context:";
    for point in Point::ALL {
        let secret = point == Point::Secrets;
        let fields = if secret { GRANT_FIELDS } else { point.fields() };
        let mut attributes = Vec::new();
        if secret {
            attributes.push(format!("{}?: String", attribute(Key::SecretResource.path())));
        }
        for key in crate::search::keys(fields) {
            let kinds = super::VIEWS.iter().map(|(kind, _)| *kind);
            // The command line is one fact with three views; every other fact is an attribute by
            // itself.
            let kinds: Vec<Kind> = match key {
                Key::LaunchCmdline => kinds.collect(),
                key => vec![key.kind()],
            };
            for kind in kinds {
                let name = attribute(&super::view_path(key, kind));
                // Every attribute is optional: a request without it is well formed, and denied.
                attributes.push(format!("{name}?: {}", cedar_type(kind)));
            }
        }
        out.push_str(&format!(
            "action \"{point}\" {applies} {{ {} }} }};\n",
            attributes.join(", ")
        ));
    }
    out
}
