//! One change of the store, and its bytes.

use crate::codec::{Reader, Writer};
use crate::seal::SEALED;
use crate::{Counter, MAX_SECRET, MAX_TEXT};

/// One change. The first four are what calls make; the others carry a state into a shorter file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// The next version of a secret, sealed for its name and version.
    Put { name: Box<str>, version: u32, at: u64, sealed: Box<[u8]> },
    /// A version is given to nobody any more.
    Revoke { name: Box<str>, version: u32 },
    /// A use: its number, and which session of which grant has it, until when.
    Use { grant: Box<str>, count: u64, pair: [u8; 32], until: u64 },
    /// A step of a counter.
    Step { name: Box<str>, to: Counter },
    /// A version that was revoked: its number stays, its bytes are gone.
    Gone { name: Box<str>, version: u32, at: u64 },
    /// How often a grant was used.
    Count { grant: Box<str>, count: u64 },
    /// A session that has its use.
    Session { pair: [u8; 32], until: u64 },
}

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        match self {
            Self::Put { name, version, at, sealed } => {
                out.u8(1).bytes(name.as_bytes()).u32(*version).u64(*at).bytes(sealed)
            }
            Self::Revoke { name, version } => out.u8(2).bytes(name.as_bytes()).u32(*version),
            Self::Use { grant, count, pair, until } => {
                out.u8(3).bytes(grant.as_bytes()).u64(*count).raw(pair).u64(*until)
            }
            Self::Step { name, to } => {
                out.u8(4).bytes(name.as_bytes()).u64(to.version).raw(&to.digest)
            }
            Self::Gone { name, version, at } => {
                out.u8(5).bytes(name.as_bytes()).u32(*version).u64(*at)
            }
            Self::Count { grant, count } => out.u8(6).bytes(grant.as_bytes()).u64(*count),
            Self::Session { pair, until } => out.u8(7).raw(pair).u64(*until),
        };
        out.0
    }

    /// `None` for what no record is: too short, too long, a kind that is not known.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let record = match from.u8()? {
            1 => Self::Put {
                name: from.text(MAX_TEXT)?.into(),
                version: from.u32()?,
                at: from.u64()?,
                sealed: from.bytes(MAX_SECRET + SEALED)?.into(),
            },
            2 => Self::Revoke { name: from.text(MAX_TEXT)?.into(), version: from.u32()? },
            3 => Self::Use {
                grant: from.text(MAX_TEXT)?.into(),
                count: from.u64()?,
                pair: from.array()?,
                until: from.u64()?,
            },
            4 => Self::Step {
                name: from.text(MAX_TEXT)?.into(),
                to: Counter { version: from.u64()?, digest: from.array()? },
            },
            5 => Self::Gone {
                name: from.text(MAX_TEXT)?.into(),
                version: from.u32()?,
                at: from.u64()?,
            },
            6 => Self::Count { grant: from.text(MAX_TEXT)?.into(), count: from.u64()? },
            7 => Self::Session { pair: from.array()?, until: from.u64()? },
            _ => return None,
        };
        from.is_done().then_some(record)
    }
}
