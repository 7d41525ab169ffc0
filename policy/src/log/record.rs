//! One record, and the one line that it is written as.

use super::decision::DecisionRecord;
use super::denials::DenialsRecord;
use super::sign::PublicKey;
use crate::canonical::sha256;
use crate::document::json::write_string;
use crate::lattice::write_hex;
use crate::utc;

/// Longest line in bytes, without its line feed. What a record can hold is bounded so that none is
/// longer: see [`DecisionRecord`].
pub const MAX_LINE: usize = 64 << 10;

/// The identity of a log: random, in its first record and in every head, so that a signature says
/// for which log it was made. Hashes alone tell logs apart only for whoever knows their beginnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl std::fmt::Display for LogId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::lattice::hex(&self.0))
    }
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The first record of a log, and of no other place in it.
    Begin {
        /// The identity that this log will have.
        log: LogId,
    },
    /// A program begins to write to a log that is there already.
    Open,
    /// A decision with its input and its reasons.
    Decision(DecisionRecord),
    /// What a running guest was denied so far.
    Denials(DenialsRecord),
    /// A program found a torn last line of so many bytes, and removed it.
    Recovered {
        /// Bytes that were removed, of one torn line.
        dropped: u64,
    },
    /// Whoever holds the key took over so many records before this one, for which no head vouched.
    /// The next head says that they have not changed since, not who wrote them.
    Adopted {
        /// Records that no head vouched for until then.
        records: u64,
    },
    /// A signed head: vouches for the chain up to it.
    Head {
        /// The log it is made for, which has to be the one it is in.
        log: LogId,
        /// Whether the log is closed with it.
        closed: bool,
        /// The public key that the signature is verified with.
        key: [u8; 32],
        /// Ed25519 (RFC 8032) over [`Record::signed_message`], with `key`.
        signature: [u8; 64],
    },
}

/// One record of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Number of the record, from 0.
    pub seq: u64,
    /// Microseconds since 1970-01-01, by the clock of the writer's host.
    pub time: u64,
    /// Hash of the record before; zeros for the first.
    pub prev: [u8; 32],
    /// What it says, by its kind.
    pub entry: Entry,
}

/// Changed with every change of what a head covers, so that no signature is taken for another's.
const DOMAIN: &[u8] = b"casemate decision log head v2\0";

impl Record {
    /// Appends everything of the line before the signature of a head, or before the hash.
    fn write_body(&self, out: &mut String) {
        out.push_str("{\"seq\":");
        utc::write_padded(out, self.seq, 1);
        out.push_str(",\"time\":\"");
        write_time(out, self.time);
        out.push_str("\",\"prev\":\"");
        write_hex(out, &self.prev);
        out.push('"');
        // Keys come in one order and values in one form: a record has one line, and a line one
        // record.
        match &self.entry {
            Entry::Begin { log } => {
                out.push_str(",\"kind\":\"begin\"");
                write_hex_field(out, "log", &log.0);
            }
            Entry::Open => out.push_str(",\"kind\":\"open\""),
            Entry::Recovered { dropped } => {
                out.push_str(",\"kind\":\"recovered\",\"dropped\":");
                utc::write_padded(out, *dropped, 1);
            }
            Entry::Adopted { records } => {
                out.push_str(",\"kind\":\"adopted\",\"records\":");
                utc::write_padded(out, *records, 1);
            }
            Entry::Head { log, closed, key, .. } => {
                out.push_str(",\"kind\":\"head\"");
                write_hex_field(out, "log", &log.0);
                out.push_str(if *closed { ",\"closed\":true" } else { ",\"closed\":false" });
                write_hex_field(out, "key", key);
            }
            Entry::Decision(decision) => write_decision(out, decision),
            Entry::Denials(denials) => write_denials(out, denials),
        }
    }

    /// The message that a head's signature is made over: the log's identity, number, time and hash
    /// of the record before are in it.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8> {
        let mut body = String::with_capacity(512);
        self.write_body(&mut body);
        // Signed is a digest under a label of its own: no signature of this key over anything else
        // can be taken for a head.
        let mut message = DOMAIN.to_vec();
        message.extend(sha256(body.as_bytes()));
        message
    }

    /// Whether this is a head of this log whose signature is this key's.
    #[must_use]
    pub fn is_head_by(&self, by: &PublicKey, of: LogId) -> bool {
        match &self.entry {
            Entry::Head { log, key, signature, .. } => {
                *log == of && *key == by.0 && by.verify(&self.signed_message(), signature)
            }
            _ => false,
        }
    }

    /// The line, without a line feed, and its hash.
    #[must_use]
    pub fn line(&self) -> (String, [u8; 32]) {
        let mut out = String::with_capacity(640);
        let hash = self.append_line(&mut out);
        (out, hash)
    }

    /// Appends the line, without a line feed, and returns its hash.
    pub(crate) fn append_line(&self, out: &mut String) -> [u8; 32] {
        // `out` may hold lines before this one: the hash is over this line alone.
        let start = out.len();
        self.write_body(out);
        if let Entry::Head { signature, .. } = &self.entry {
            write_hex_field(out, "signature", signature);
        }
        let hash = sha256(out.get(start..).unwrap_or_default().as_bytes());
        write_hex_field(out, "hash", &hash);
        out.push('}');
        hash
    }
}

fn write_decision(out: &mut String, decision: &DecisionRecord) {
    out.push_str(",\"kind\":\"decision\"");
    write_hex_field(out, "policy", &decision.policy);
    out.push_str(",\"engine\":");
    write_string(out, &decision.engine);
    out.push_str(",\"point\":\"");
    out.push_str(decision.point.name());
    out.push_str("\",\"input\":");
    write_string(out, &decision.input);
    for (name, keys) in [("redacted", &decision.redacted), ("invalid", &decision.invalid)] {
        out.push_str(",\"");
        out.push_str(name);
        out.push_str("\":");
        write_list(out, keys.iter().map(|key| key.path()));
    }
    out.push_str(",\"verdict\":\"");
    out.push_str(decision.verdict.name());
    out.push_str("\",\"rules\":");
    write_list(out, decision.rules.iter().map(String::as_str));
    out.push_str(",\"reasons\":");
    write_list(out, decision.reasons.iter().map(String::as_str));
    out.push_str(",\"more_reasons\":");
    utc::write_padded(out, decision.more_reasons, 1);
}

/// The largest number that a line can say and be read. What a guest was counted to have done is not
/// to make a line that nobody can read.
const MAX_NUMBER: u64 = i64::MAX.cast_unsigned();

fn write_denials(out: &mut String, denials: &DenialsRecord) {
    out.push_str(",\"kind\":\"denials\",\"vm\":");
    write_string(out, &denials.vm);
    out.push_str(",\"start\":");
    utc::write_padded(out, denials.start, 1);
    write_hex_field(out, "policy", &denials.policy);
    out.push_str(",\"point\":\"");
    out.push_str(denials.point.name());
    out.push_str("\",\"rule\":");
    write_string(out, &denials.rule);
    out.push_str(",\"limits\":");
    write_list(out, denials.limits.iter().map(String::as_str));
    out.push_str(",\"verdict\":\"");
    out.push_str(denials.verdict.name());
    out.push_str("\",\"times\":");
    utc::write_padded(out, denials.times.min(MAX_NUMBER), 1);
    out.push_str(",\"amount\":");
    utc::write_padded(out, denials.amount.min(MAX_NUMBER), 1);
    out.push_str(if denials.ended { ",\"ended\":true" } else { ",\"ended\":false" });
}

fn write_hex_field(out: &mut String, name: &str, bytes: &[u8]) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":\"");
    write_hex(out, bytes);
    out.push('"');
}

fn write_list<'t>(out: &mut String, items: impl Iterator<Item = &'t str>) {
    out.push('[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(out, item);
    }
    out.push(']');
}

fn write_time(out: &mut String, micros: u64) {
    utc::write(out, micros / 1_000_000);
    out.push('.');
    utc::write_padded(out, micros % 1_000_000, 6);
    out.push('Z');
}
