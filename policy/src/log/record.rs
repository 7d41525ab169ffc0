//! One record and its line.

use crate::canonical::sha256;
use crate::decide::{Decision, Verdict};
use crate::document::json::{self, write_string};
use crate::document::{ENGINE_VERSION, Sink, Value, time, tree::Entry as Pair};
use crate::fact::Facts;
use crate::fields::Point;
use crate::input::facts_json;
use crate::lattice::{Bytes, write_hex};
use std::borrow::Cow;

/// Longest line in bytes, without its line feed.
pub const MAX_LINE: usize = 16 << 10;
/// Most reasons kept of one decision.
const MAX_REASONS: usize = 16;
/// Longest reason kept, in bytes.
const MAX_REASON: usize = 400;

/// A decision as it is logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// SHA-256 of the policy's canonical form.
    pub policy: [u8; 32],
    /// Version of the engine that decided.
    pub engine: Cow<'static, str>,
    /// The decision point.
    pub point: Point,
    /// SHA-256 of the input in its JSON form.
    pub input: [u8; 32],
    /// The verdict.
    pub verdict: Verdict,
    /// Ids of the rules that denied.
    pub rules: Vec<String>,
    /// What each of them said, shortened.
    pub reasons: Vec<String>,
}

impl DecisionRecord {
    /// The record of a decision by the policy with this hash.
    #[must_use]
    pub fn new(policy: [u8; 32], point: Point, facts: &Facts, decision: &Decision) -> Self {
        let input = facts_json(Some(point), facts);
        let kept = || decision.reasons.iter().take(MAX_REASONS);
        Self {
            policy,
            engine: ENGINE_VERSION.into(),
            point,
            input: sha256(input.as_bytes()),
            verdict: decision.verdict,
            rules: kept().map(|reason| shorten(&reason.rule)).collect(),
            reasons: kept().map(|reason| shorten(&reason.to_string())).collect(),
        }
    }
}

fn shorten(text: &str) -> String {
    let end = (0..=MAX_REASON.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A program begins to write: the first record, and after each restart.
    Open,
    /// A decision.
    Decision(DecisionRecord),
    /// A program found a torn last line of so many bytes, and removed it.
    Recovered {
        /// Bytes removed.
        dropped: u64,
    },
    /// A signed head: vouches for the chain up to it.
    Head {
        /// Whether the log is closed with it.
        closed: bool,
        /// The public key.
        key: [u8; 32],
        /// Ed25519 over [`Record::signed_message`].
        signature: [u8; 64],
    },
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the record, from 0.
    pub seq: u64,
    /// Microseconds since 1970-01-01.
    pub time: u64,
    /// Hash of the record before; zeros for the first.
    pub prev: [u8; 32],
    /// What it says.
    pub entry: Entry,
}

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

const DOMAIN: &[u8] = b"casemate decision log head v1\0";

impl Record {
    /// Appends everything of the line before the signature of a head, or before the hash.
    fn write_body(&self, out: &mut String) {
        out.push_str("{\"seq\":");
        time::write_padded(out, self.seq, 1);
        out.push_str(",\"time\":\"");
        write_time(out, self.time);
        out.push_str("\",\"prev\":\"");
        write_hex(out, &self.prev);
        match &self.entry {
            Entry::Open => out.push_str("\",\"kind\":\"open\""),
            Entry::Recovered { dropped } => {
                out.push_str("\",\"kind\":\"recovered\",\"dropped\":");
                time::write_padded(out, *dropped, 1);
            }
            Entry::Head { closed, key, .. } => {
                out.push_str("\",\"kind\":\"head\",\"closed\":");
                out.push_str(if *closed { "true" } else { "false" });
                out.push_str(",\"key\":\"");
                write_hex(out, key);
                out.push('"');
            }
            Entry::Decision(decision) => {
                out.push_str("\",\"kind\":\"decision\",\"policy\":\"");
                write_hex(out, &decision.policy);
                out.push_str("\",\"engine\":");
                write_string(out, &decision.engine);
                out.push_str(",\"point\":\"");
                out.push_str(decision.point.name());
                out.push_str("\",\"input\":\"");
                write_hex(out, &decision.input);
                out.push_str("\",\"verdict\":\"");
                out.push_str(decision.verdict.name());
                out.push_str("\",\"rules\":");
                write_list(out, &decision.rules);
                out.push_str(",\"reasons\":");
                write_list(out, &decision.reasons);
            }
        }
    }

    /// The message that a head's signature is made over.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8> {
        let mut body = String::with_capacity(512);
        self.write_body(&mut body);
        let mut message = DOMAIN.to_vec();
        message.extend(sha256(body.as_bytes()));
        message
    }

    /// The line, without a line feed, and its hash.
    #[must_use]
    pub fn line(&self) -> (String, [u8; 32]) {
        let mut out = String::with_capacity(640);
        let hash = self.write_line(&mut out);
        (out, hash)
    }

    /// Replaces `out` by the line, without a line feed, and returns its hash.
    pub(crate) fn write_line(&self, out: &mut String) -> [u8; 32] {
        out.clear();
        self.write_body(out);
        if let Entry::Head { signature, .. } = &self.entry {
            out.push_str(",\"signature\":\"");
            write_hex(out, signature);
            out.push('"');
        }
        let hash = sha256(out.as_bytes());
        out.push_str(",\"hash\":\"");
        write_hex(out, &hash);
        out.push_str("\"}");
        hash
    }

    /// Reads a line, and returns the record with its hash. Every byte of the line is covered: it must be
    /// the canonical form of what it says.
    ///
    /// # Errors
    /// When the line is not exactly what [`Record::line`] writes.
    pub fn parse(line: &[u8]) -> Result<(Self, [u8; 32]), ParseError> {
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
        let record = read(&pairs)?;
        let (canonical, hash) = record.line();
        if canonical == text { Ok((record, hash)) } else { Err(ParseError::Changed) }
    }
}

fn write_list(out: &mut String, items: &[String]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, item);
    }
    out.push(']');
}

fn write_time(out: &mut String, micros: u64) {
    time::write_utc(out, micros / 1_000_000);
    out.push('.');
    time::write_padded(out, micros % 1_000_000, 6);
    out.push('Z');
}

fn read_time(text: &str) -> Option<u64> {
    let (whole, fraction) = text.strip_suffix('Z')?.split_once('.')?;
    let seconds = time::parse_utc(&format!("{whole}Z"))?;
    let micros: u64 = (fraction.len() == 6).then(|| fraction.parse().ok())??;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

fn read(pairs: &[Pair]) -> Result<Record, ParseError> {
    let entry = match text(pairs, "kind")? {
        "open" => Entry::Open,
        "recovered" => Entry::Recovered { dropped: number(pairs, "dropped")? },
        "head" => Entry::Head {
            closed: flag(pairs, "closed")?,
            key: bytes(pairs, "key")?,
            signature: bytes(pairs, "signature")?,
        },
        "decision" => Entry::Decision(DecisionRecord {
            policy: bytes(pairs, "policy")?,
            engine: text(pairs, "engine")?.to_owned().into(),
            point: Point::from_name(text(pairs, "point")?).ok_or(ParseError::Field("point"))?,
            input: bytes(pairs, "input")?,
            verdict: Verdict::from_name(text(pairs, "verdict")?)
                .ok_or(ParseError::Field("verdict"))?,
            rules: texts(pairs, "rules")?,
            reasons: texts(pairs, "reasons")?,
        }),
        _ => return Err(ParseError::Field("kind")),
    };
    Ok(Record {
        seq: number(pairs, "seq")?,
        time: read_time(text(pairs, "time")?).ok_or(ParseError::Field("time"))?,
        prev: bytes(pairs, "prev")?,
        entry,
    })
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
