//! A line of the log back to the record it was made of.

use super::decision::DecisionRecord;
use super::denials::DenialsRecord;
use super::record::{Entry, LogId, MAX_LINE, Record};
use crate::decide::Verdict;
use crate::document::{Sink, Value, json, tree::Entry as Pair};
use crate::fields::{Key, Point};
use crate::lattice::Bytes;
use crate::utc;

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The line is longer than [`MAX_LINE`].
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotText,
    /// The line is not JSON.
    #[error("the line is not JSON: {0}")]
    NotJson(String),
    /// A key is missing or its value is not of its type.
    #[error("`{0}` is missing or not valid")]
    Field(&'static str),
    /// The line is not the canonical form of what it says, or its hash is wrong.
    #[error("the line was changed: it is not what its hash was made of")]
    Changed,
}

impl Record {
    /// Reads a line, and returns the record with its hash. Every byte of the line is covered: it
    /// must be the canonical form of what it says.
    ///
    /// # Errors
    /// When the line is not exactly what [`Record::line`] writes.
    pub fn parse(line: &[u8]) -> Result<(Self, [u8; 32]), ParseError> {
        // The length before anything is decoded: what follows keeps several copies.
        if line.len() > MAX_LINE {
            return Err(ParseError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| ParseError::NotText)?;
        let mut sink = Sink::new(text, "line");
        let root = json::parse(text, &mut sink);
        sink.finish().map_err(|error| ParseError::NotJson(error.to_string()))?;
        let Some(Value::Table(pairs)) = root.map(|root| root.value) else {
            return Err(ParseError::Field("seq"));
        };
        // Read first, then compared with what it would be written as. Whatever the reader was
        // lenient about, the order of keys or a blank, shows here.
        let record = read(&pairs)?;
        let (canonical, hash) = record.line();
        if canonical == text { Ok((record, hash)) } else { Err(ParseError::Changed) }
    }
}

/// The record that a line's members say; the comparison with the canonical line is the caller's.
fn read(pairs: &[Pair]) -> Result<Record, ParseError> {
    let entry = match text(pairs, "kind")? {
        "begin" => Entry::Begin { log: LogId(bytes(pairs, "log")?) },
        "open" => Entry::Open,
        "recovered" => Entry::Recovered { dropped: number(pairs, "dropped")? },
        "adopted" => Entry::Adopted { records: number(pairs, "records")? },
        "head" => Entry::Head {
            log: LogId(bytes(pairs, "log")?),
            closed: flag(pairs, "closed")?,
            key: bytes(pairs, "key")?,
            signature: bytes(pairs, "signature")?,
        },
        "decision" => Entry::Decision(read_decision(pairs)?),
        "denials" => Entry::Denials(read_denials(pairs)?),
        _ => return Err(ParseError::Field("kind")),
    };
    Ok(Record {
        seq: number(pairs, "seq")?,
        time: read_time(text(pairs, "time")?).ok_or(ParseError::Field("time"))?,
        prev: bytes(pairs, "prev")?,
        entry,
    })
}

fn read_decision(pairs: &[Pair]) -> Result<DecisionRecord, ParseError> {
    Ok(DecisionRecord {
        policy: bytes(pairs, "policy")?,
        engine: text(pairs, "engine")?.to_owned().into(),
        point: Point::from_name(text(pairs, "point")?).ok_or(ParseError::Field("point"))?,
        input: text(pairs, "input")?.to_owned(),
        redacted: keys(pairs, "redacted")?,
        invalid: keys(pairs, "invalid")?,
        verdict: Verdict::from_name(text(pairs, "verdict")?).ok_or(ParseError::Field("verdict"))?,
        rules: texts(pairs, "rules")?,
        reasons: texts(pairs, "reasons")?,
        more_reasons: number(pairs, "more_reasons")?,
    })
}

fn read_denials(pairs: &[Pair]) -> Result<DenialsRecord, ParseError> {
    let verdict = Verdict::from_name(text(pairs, "verdict")?).filter(|verdict| !verdict.is_allow());
    Ok(DenialsRecord {
        vm: text(pairs, "vm")?.to_owned(),
        start: number(pairs, "start")?,
        policy: bytes(pairs, "policy")?,
        point: Point::from_name(text(pairs, "point")?).ok_or(ParseError::Field("point"))?,
        rule: text(pairs, "rule")?.to_owned(),
        limits: texts(pairs, "limits")?,
        verdict: verdict.ok_or(ParseError::Field("verdict"))?,
        times: number(pairs, "times")?,
        amount: number(pairs, "amount")?,
        ended: flag(pairs, "ended")?,
    })
}

fn read_time(text: &str) -> Option<u64> {
    // Exactly six digits of a second; `parse` alone would take a sign.
    let (whole, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    let seconds = utc::parse(&format!("{whole}Z"))?;
    let micros: u64 = (fraction.len() == 6).then(|| fraction.parse().ok())??;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

fn get<'p>(pairs: &'p [Pair], key: &'static str) -> Result<&'p Value, ParseError> {
    let found = pairs.iter().find(|pair| pair.key == key).map(|pair| &pair.node.value);
    found.ok_or(ParseError::Field(key))
}

fn text<'p>(pairs: &'p [Pair], key: &'static str) -> Result<&'p str, ParseError> {
    match get(pairs, key)? {
        Value::Text(text) => Ok(text),
        _ => Err(ParseError::Field(key)),
    }
}

fn number(pairs: &[Pair], key: &'static str) -> Result<u64, ParseError> {
    match get(pairs, key)? {
        Value::Number(n) => Ok(*n),
        _ => Err(ParseError::Field(key)),
    }
}

fn flag(pairs: &[Pair], key: &'static str) -> Result<bool, ParseError> {
    match get(pairs, key)? {
        Value::Bool(on) => Ok(*on),
        _ => Err(ParseError::Field(key)),
    }
}

fn bytes<const N: usize>(pairs: &[Pair], key: &'static str) -> Result<[u8; N], ParseError> {
    // Upper-case digits are read here and refused by the comparison with the canonical line.
    let parsed = Bytes::from_hex(text(pairs, key)?).ok_or(ParseError::Field(key))?;
    parsed.as_slice().try_into().map_err(|_| ParseError::Field(key))
}

fn texts(pairs: &[Pair], key: &'static str) -> Result<Vec<String>, ParseError> {
    let Value::List(items) = get(pairs, key)? else { return Err(ParseError::Field(key)) };
    let texts = items.iter().map(|item| match &item.value {
        Value::Text(text) => Ok(text.clone()),
        _ => Err(ParseError::Field(key)),
    });
    texts.collect()
}

fn keys(pairs: &[Pair], key: &'static str) -> Result<Vec<Key>, ParseError> {
    let paths = texts(pairs, key)?;
    let keys = paths.iter().map(|path| Key::from_path(path).ok_or(ParseError::Field(key)));
    keys.collect()
}
