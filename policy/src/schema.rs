//! JSON Schema (2020-12) of a policy document, for editors, from the field table.

use crate::document::json::quote;
use crate::fields::{BitNames, Field, GRANT_FIELDS, Kind, Point, SECTIONS};
use crate::lattice::Tcb;

/// The table of a document as an object, exactly its keys.
fn names(all: &[&str]) -> String {
    all.iter().map(|name| quote(name)).collect::<Vec<_>>().join(",")
}

fn table(properties: &[(&str, String)], required: &[&str]) -> String {
    let all: Vec<String> =
        properties.iter().map(|(name, schema)| format!("{}:{schema}", quote(name))).collect();
    format!(
        "{{\"type\":\"object\",\"additionalProperties\":false,\"required\":[{}],\"properties\":{{{}}}}}",
        names(required),
        all.join(",")
    )
}

fn list(items: &str) -> String {
    format!("{{\"type\":\"array\",\"items\":{items}}}")
}

/// What a document's numbers, texts and open ends look like; a schema knows no more of them than
/// their type.
const NUMBER: &str = "{\"type\":\"integer\",\"minimum\":0}";
const TEXT: &str = "{\"type\":\"string\"}";
const NUMBER_OR_ANY: &str =
    "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},{\"const\":\"any\"}]}";

/// The schema of a field's values: `any`, `nothing`, or what its kind writes.
fn kind_schema(kind: Kind) -> String {
    let own = match kind {
        Kind::Floor | Kind::Ceiling | Kind::CeilingEach => NUMBER.to_owned(),
        Kind::Interval => {
            let ends = table(
                &[("min", NUMBER_OR_ANY.into()), ("max", NUMBER_OR_ANY.into())],
                &["min", "max"],
            );
            format!("{NUMBER},{ends}")
        }
        Kind::Version => {
            "{\"type\":\"string\",\"pattern\":\"^[0-9]{1,6}(\\\\.[0-9]{1,6}){0,2}$\"}".into()
        }
        Kind::Window => table(&[("from", TEXT.into()), ("until", TEXT.into())], &["from", "until"]),
        Kind::Flag | Kind::FlagEach => "{\"enum\":[\"required\",\"forbidden\"]}".into(),
        Kind::Choice(all) => list(&format!("{{\"enum\":[{}]}}", names(all))),
        Kind::Level(all) | Kind::Action(all) => format!("{{\"enum\":[{}]}}", names(all)),
        Kind::BytesAllowed(len) | Kind::BytesDenied(len) => {
            let digits = usize::from(len) * 2;
            // A chip identifier may be written with its 8 bytes.
            let short = if len == 64 { "|[0-9a-fA-F]{16}" } else { "" };
            list(&format!(
                "{{\"type\":\"string\",\"pattern\":\"^(unset|[0-9a-fA-F]{{{digits}}}{short})$\"}}"
            ))
        }
        Kind::HostData => {
            list("{\"type\":\"string\",\"pattern\":\"^(unset|initdata|[0-9a-fA-F]{64})$\"}")
        }
        Kind::Names { .. } | Kind::NamesForbidden => {
            list("{\"type\":\"string\",\"maxLength\":4096,\"pattern\":\"^[^*]*\\\\*?$\"}")
        }
        Kind::NamesRequired => list("{\"type\":\"string\",\"maxLength\":4096}"),
        Kind::Roots(words) => {
            let words: String = words.iter().map(|word| format!("|^{word}$")).collect();
            list(&format!("{{\"type\":\"string\",\"maxLength\":4096,\"pattern\":\"^/{words}\"}}"))
        }
        Kind::Bits(bits) => bits_schema(bits),
        Kind::Tcb => tcb_schema(),
        Kind::Egress => egress_schema(),
        Kind::Limit => table(
            &[("per_second", NUMBER_OR_ANY.into()), ("total", NUMBER_OR_ANY.into())],
            &["per_second", "total"],
        ),
    };
    format!("\"anyOf\":[{{\"enum\":[\"any\",\"nothing\"]}},{own}]")
}

fn tcb_schema() -> String {
    let level = "{\"type\":\"integer\",\"minimum\":0,\"maximum\":255}";
    let parts = Tcb::PARTS.map(|part| (part, level.to_owned()));
    // Which parts a floor has to state depends on the generation; the two that all have are
    // demanded here, the rest by the loader.
    let floor = table(&parts, &["tee", "snp"]);
    table(&Tcb::GENERATIONS.map(|generation| (generation, floor.clone())), &[])
}

fn egress_schema() -> String {
    let port = "{\"type\":\"integer\",\"minimum\":0,\"maximum\":65535}";
    let ports = format!(
        "{{\"anyOf\":[{port},{{\"const\":\"any\"}},{{\"type\":\"array\",\"items\":{port},\"minItems\":2,\"maxItems\":2}}]}}"
    );
    let protocol = "{\"enum\":[\"tcp\",\"udp\",\"icmp\"]}".to_owned();
    let text = TEXT.to_owned();
    list(&table(
        &[
            ("cidr", text.clone()),
            ("first", text.clone()),
            ("last", text),
            ("ports", ports),
            ("protocol", protocol),
        ],
        &["protocol"],
    ))
}

fn bits_schema(bits: &BitNames) -> String {
    let all: Vec<&str> = bits.names.iter().map(|(_, name)| *name).collect();
    let bit = format!(
        "{{\"anyOf\":[{{\"enum\":[{}]}},{{\"type\":\"string\",\"pattern\":\"^bit[0-9]{{1,2}}$\"}}]}}",
        names(&all)
    );
    let may = format!("{{\"anyOf\":[{{\"const\":\"any\"}},{}]}}", list(&bit));
    table(&[("must", list(&bit)), ("may", may), ("must_not", list(&bit))], &[])
}

fn field_schema(field: &Field) -> String {
    let text = format!(
        "{} Default: {}. Order: {}. Without it: {}",
        field.meaning,
        field.default,
        field.kind.order(),
        field.without
    );
    format!("{{\"description\":{},{}}}", quote(&text), kind_schema(field.kind))
}

/// The tables below `prefix`, with their fields.
fn section(prefix: &str) -> String {
    let fields = || Point::ALL.into_iter().flat_map(Point::fields);
    let mut properties: Vec<(&str, String)> = Vec::new();
    // A table is described once, at the first of its fields.
    for field in fields() {
        let Some(rest) = field.path.strip_prefix(prefix) else { continue };
        match rest.split_once('.') {
            None => properties.push((rest, field_schema(field))),
            Some((name, _)) if !properties.iter().any(|(known, _)| *known == name) => {
                properties.push((name, section(&format!("{prefix}{name}."))));
            }
            Some(_) => {}
        }
    }
    table(&properties, &[])
}

/// The JSON Schema of a policy document.
#[must_use]
pub fn json_schema() -> String {
    let mut properties: Vec<(&str, String)> = vec![
        ("schema_version", "{\"const\":1}".into()),
        ("min_engine", TEXT.into()),
        ("name", TEXT.into()),
        ("description", TEXT.into()),
        ("layer", "{\"type\":\"boolean\"}".into()),
    ];
    for (name, _) in SECTIONS.iter().filter(|(name, _)| *name != "secrets") {
        properties.push((name, section(&format!("{name}."))));
    }
    let grant: Vec<(&str, String)> =
        GRANT_FIELDS.iter().map(|field| (field.name(), field_schema(field))).collect();
    let grants = format!("{{\"type\":\"object\",\"additionalProperties\":{}}}", table(&grant, &[]));
    properties.push(("secrets", grants));
    let body = table(&properties, &["schema_version", "min_engine"]);
    // The document's own members are put into the object that describes it, after `$schema`.
    let body = body.strip_prefix('{').unwrap_or(&body);
    format!(
        "{{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"Casemate policy\",{body}\n"
    )
}
