//! The requests of the Cedar export.

use super::cedar::{attribute, by_element};
use super::{bit_list, choice_name};
use crate::document::json::quote;
use crate::fact::{Fact, Facts};
use crate::fields::{GRANT_FIELDS, Key, Kind, Point};
use crate::lattice::Tcb;
use crate::search::keys;

/// One request to Cedar. The principal is `Host::"host"`, the resource `Guest::"guest"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CedarRequest {
    /// The id of the action.
    pub action: String,
    /// The context, as JSON.
    pub context: String,
}

/// The requests that all have to be permitted for the input to be admitted at the point.
#[must_use]
pub fn cedar_requests(point: Point, facts: &Facts) -> Vec<CedarRequest> {
    let fields = if point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
    let mut wanted = keys(fields);
    if point == Point::Secrets {
        wanted.push(Key::SecretResource);
    }
    let (mut attributes, mut elements) = (Vec::new(), Vec::new());
    for key in wanted {
        let (kind, Some(fact)) = (key.kind(), facts.get(key)) else { continue };
        if let Some(value) = value(kind, fact) {
            attributes.push(format!("\"{}\":{value}", attribute(key)));
        }
        if let (true, Fact::List(items)) = (by_element(kind), fact) {
            let contexts = items.iter().filter_map(element);
            elements.extend(
                contexts.map(|context| CedarRequest { action: key.path().into(), context }),
            );
        }
    }
    let context = format!("{{{}}}", attributes.join(","));
    let mut out = vec![CedarRequest { action: point.name().into(), context }];
    out.append(&mut elements);
    out
}

fn element(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Text(text) => Some(format!("{{\"element\":{}}}", quote(text))),
        Fact::Endpoint(e) => Some(format!(
            "{{\"address\":{{\"__extn\":{{\"fn\":\"ip\",\"arg\":\"{}\"}}}},\"port\":{},\"protocol\":\"{}\"}}",
            e.address.to_canonical(),
            e.port,
            e.protocol.name()
        )),
        _ => None,
    }
}

fn long(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn value(kind: Kind, fact: &Fact) -> Option<String> {
    Some(match (kind, fact) {
        (Kind::Bits(names), Fact::Number(mask)) => {
            let bits = bit_list(*mask, names).into_iter().map(|name| quote(&name));
            format!("[{}]", bits.collect::<Vec<_>>().join(","))
        }
        (Kind::Choice(_), Fact::Number(index)) => quote(choice_name(kind, *index)),
        (Kind::Flag | Kind::FlagEach, Fact::Number(n)) => (*n != 0).to_string(),
        (_, Fact::Number(n)) => long(*n).to_string(),
        (_, Fact::Text(text)) => quote(text),
        (_, Fact::Bytes(bytes)) => quote(&bytes.to_hex()),
        (_, Fact::Tcb(tcb)) => {
            let name = Tcb::GENERATIONS.get(usize::from(tcb.generation)).copied();
            let levels = Tcb::PARTS.iter().zip(tcb.levels);
            let levels: String =
                levels.map(|(part, level)| format!(",\"{part}\":{level}")).collect();
            format!("{{\"generation\":{}{levels}}}", quote(name.unwrap_or("unknown")))
        }
        (_, Fact::Usage(usage)) => {
            format!("{{\"in_second\":{},\"total\":{}}}", long(usage.in_second), long(usage.total))
        }
        (Kind::CeilingEach, Fact::List(items)) => {
            let numbers = items.iter().map(|item| match item {
                Fact::Number(n) => Some(long(*n)),
                _ => None,
            });
            let numbers: Option<Vec<i64>> = numbers.collect();
            numbers?.into_iter().max().unwrap_or(-1).to_string()
        }
        (_, Fact::List(items)) => {
            let items: Option<Vec<String>> = items
                .iter()
                .map(|item| match item {
                    Fact::Endpoint(e) => Some(quote(&e.address.to_string())),
                    item => value(kind, item),
                })
                .collect();
            format!("[{}]", items?.join(","))
        }
        (_, Fact::Endpoint(_) | Fact::Invalid(_)) => return None,
    })
}
