//! The request of the Cedar export.

use super::cedar_schema::{attribute, by_element, slots};
use super::{CedarError, bit_list, choice_name, invalid, tcb_object, views};
use crate::document::json::quote;
use crate::fact::Fact;
use crate::facts::Facts;
use crate::fields::{GRANT_FIELDS, Key, Kind, Point};
use crate::search::keys;

/// The request to Cedar. The principal is `Host::"host"`, the resource `Guest::"guest"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CedarRequest {
    /// The id of the action.
    pub action: String,
    /// The context, as JSON.
    pub context: String,
}

/// The one request that asks whether the input is admitted at the point.
///
/// # Errors
/// A list with more elements than a request can hold, or a number beyond Cedar's. Neither is left
/// out or cut off: an answer to another question would be worse than none.
pub fn cedar_request(point: Point, facts: &Facts) -> Result<CedarRequest, CedarError> {
    let fields = if point == Point::Secrets { GRANT_FIELDS } else { point.fields() };
    let mut wanted = keys(fields);
    if point == Point::Secrets {
        wanted.push(Key::SecretResource);
    }
    let mut attributes = Vec::new();
    // Only the facts that the point's rules are about: the schema has no others.
    for key in wanted {
        let Some(fact) = facts.get(key) else { continue };
        // An invalid fact is refused here, because leaving it out would make a request that asks
        // something else.
        if let Some(why) = invalid(fact) {
            return Err(CedarError::Invalid { fact: key.path(), why: why.into() });
        }
        if let Fact::CommandLine(line) = fact {
            // A command line is one fact with several views; each is an attribute of its own.
            for (path, words) in views(key, line) {
                let words: Vec<Fact> = words.iter().map(|word| Fact::Text(word.clone())).collect();
                if let Some(value) = record(key, &words)? {
                    attributes.push(format!("\"{}\":{value}", attribute(&path)));
                }
            }
            continue;
        }
        let value = match fact {
            Fact::List(items) if by_element(key.kind()) => record(key, items)?,
            fact => value(key, fact)?,
        };
        if let Some(value) = value {
            attributes.push(format!("\"{}\":{value}", attribute(key.path())));
        }
    }
    let context = format!("{{{}}}", attributes.join(","));
    Ok(CedarRequest { action: point.name().into(), context })
}

/// A list as the record of its elements; `None` when one of them is not valid, which denies.
fn record(key: Key, items: &[Fact]) -> Result<Option<String>, CedarError> {
    let most = slots(key.kind());
    if items.len() > most {
        return Err(CedarError::TooMany { fact: key.path(), count: items.len(), most });
    }
    let mut out = format!("{{\"count\":{}", items.len());
    for (slot, item) in items.iter().enumerate() {
        let Some(element) = element(item) else { return Ok(None) };
        out.push_str(&format!(",\"e{slot}\":{element}"));
    }
    out.push('}');
    Ok(Some(out))
}

fn element(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Text(text) => Some(quote(text)),
        Fact::Endpoint(e) => Some(format!(
            "{{\"address\":{{\"__extn\":{{\"fn\":\"ip\",\"arg\":\"{}\"}}}},\"port\":{},\
             \"protocol\":\"{}\"}}",
            e.address.to_canonical(),
            e.port,
            e.protocol.name()
        )),
        _ => None,
    }
}

fn value(key: Key, fact: &Fact) -> Result<Option<String>, CedarError> {
    let kind = key.kind();
    let long = |n: u64| i64::try_from(n).map_err(|_| CedarError::Number { fact: key.path(), n });
    Ok(Some(match (kind, fact) {
        // Masks travel as sets of names, flags as booleans: what the permit compares them with.
        (Kind::Bits(names), Fact::Number(mask)) => {
            let bits = bit_list(*mask, names).into_iter().map(|name| quote(&name));
            format!("[{}]", bits.collect::<Vec<_>>().join(","))
        }
        (Kind::Choice(_), Fact::Number(index)) => quote(choice_name(kind, *index)),
        (Kind::Flag | Kind::FlagEach, Fact::Number(n)) => (*n != 0).to_string(),
        (_, Fact::Number(n)) => long(*n)?.to_string(),
        (_, Fact::Text(text)) => quote(text),
        (_, Fact::Bytes(bytes)) => quote(&bytes.to_text()),
        (_, Fact::Tcb(tcb)) => tcb_object(tcb),
        (_, Fact::Usage(usage)) => {
            let (in_second, total) = (long(usage.in_second)?, long(usage.total)?);
            format!("{{\"in_second\":{in_second},\"total\":{total}}}")
        }
        (Kind::CeilingEach, Fact::List(items)) => {
            // A list of numbers is asked by its greatest; -1 stands for none, which every ceiling
            // admits.
            let mut most = -1;
            for item in items {
                let Fact::Number(n) = item else { return Ok(None) };
                most = most.max(long(*n)?);
            }
            most.to_string()
        }
        (Kind::FlagEach, Fact::List(items)) => {
            let mut all = Vec::with_capacity(items.len());
            for item in items {
                let Fact::Number(n) = item else { return Ok(None) };
                all.push((*n != 0).to_string());
            }
            format!("[{}]", all.join(","))
        }
        (_, Fact::List(_) | Fact::CommandLine(_) | Fact::Endpoint(_) | Fact::Invalid(_)) => {
            return Ok(None);
        }
    }))
}
