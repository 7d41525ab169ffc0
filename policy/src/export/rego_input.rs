//! The input of the Rego export.

use super::rego::hex_address;
use super::{bit_list, choice_name, invalid, tcb_object, views};
use crate::document::json::quote;
use crate::fact::Fact;
use crate::fields::{GRANT_FIELDS, Key, Kind, Point};
use crate::input::Input;
use crate::search::keys;

/// The input as the JSON object that the Rego export reads. One with a fact that is not valid, and
/// which the point looks at, names no point: then nothing is allowed, as this engine has it.
#[must_use]
pub fn rego_input(input: &Input) -> String {
    let mut parts = Vec::new();
    // Facts of other points may stand beside and be anything: only what this point looks at makes
    // its request invalid.
    let valid = |point: &Point| {
        let fields = if *point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
        let resource = (*point == Point::Secrets).then_some(Key::SecretResource);
        let mut keys = keys(fields).into_iter().chain(resource);
        !keys.any(|key| input.facts.get(key).is_some_and(|fact| invalid(fact).is_some()))
    };
    if let Some(point) = input.point.filter(valid) {
        parts.push(format!("\"point\":\"{point}\""));
    }
    for (key, fact) in input.facts.iter() {
        if let Fact::CommandLine(line) = fact {
            for (path, words) in views(key, line) {
                let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
                parts.push(format!("\"{path}\":[{}]", words.join(",")));
            }
            continue;
        }
        // What has no form here is left out, and a missing fact is denied by every rule that looks
        // at it.
        if let Some(value) = value(key.kind(), fact) {
            parts.push(format!("\"{}\":{value}", key.path()));
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn value(kind: Kind, fact: &Fact) -> Option<String> {
    Some(match (kind, fact) {
        (Kind::Bits(names), Fact::Number(mask)) => {
            let bits = bit_list(*mask, names).into_iter().map(|name| quote(&name));
            format!("[{}]", bits.collect::<Vec<_>>().join(","))
        }
        (Kind::Choice(_), Fact::Number(index)) => quote(choice_name(kind, *index)),
        (Kind::Flag | Kind::FlagEach, Fact::Number(n)) => (*n != 0).to_string(),
        (_, Fact::Number(n)) => n.to_string(),
        (_, Fact::Text(text)) => quote(text),
        (_, Fact::Bytes(bytes)) => quote(&bytes.to_text()),
        (_, Fact::Tcb(tcb)) => tcb_object(tcb),
        (_, Fact::Endpoint(e)) => format!(
            "{{\"address\":\"{}\",\"hex\":\"{}\",\"port\":{},\"protocol\":\"{}\"}}",
            e.address.to_canonical(),
            hex_address(e.address),
            e.port,
            e.protocol.name()
        ),
        (_, Fact::Usage(usage)) => {
            format!("{{\"in_second\":{},\"total\":{}}}", usage.in_second, usage.total)
        }
        (_, Fact::List(items)) => {
            let items: Option<Vec<String>> = items.iter().map(|item| value(kind, item)).collect();
            format!("[{}]", items?.join(","))
        }
        (_, Fact::CommandLine(_) | Fact::Invalid(_)) => return None,
    })
}
