//! What a broker's owner asks of its store, and what comes back: done on the store itself when no
//! broker has it, else by the broker that runs, over a socket that only its owner reaches.
//!
//! A message is a length (4 bytes, little-endian), a kind, and fields. Both sides read within a
//! bound and refuse what they do not know; neither is hostile to the other, but one of them may be
//! another version, or end in the middle.

use casemate_foreign_text::line;
use casemate_store::{Listed, MAX_SECRET, MAX_TEXT, Secret, Store, StoreError, VersionInfo, Which};
use std::io::{Read, Write};
use zeroize::Zeroizing;

/// Longest message behind its length, in bytes.
const MAX_MESSAGE: usize = MAX_SECRET + MAX_TEXT + 64;
/// Longest reason, in bytes.
const MAX_REASON: usize = 4096;

/// What an owner asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Keep this as the next version of a secret.
    Put {
        /// Its name, `repository/type/tag`.
        name: String,
        /// Its bytes.
        secret: Secret,
    },
    /// Give a version, the newest without a number.
    Get {
        /// The secret's name.
        name: String,
        /// Which version.
        version: Option<u32>,
    },
    /// Tell of every version, or of those of one secret.
    List {
        /// Which secret; all without a name.
        name: Option<String>,
    },
    /// End a version for good.
    Revoke {
        /// The secret's name.
        name: String,
        /// Which version.
        version: u32,
    },
}

/// What comes back: any number of [`Said::Version`], then one of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// The secret was kept, as this version.
    Kept(u32),
    /// This version of a secret.
    Secret(u32, Secret),
    /// One version of a secret.
    Version(String, VersionInfo),
    /// That was all.
    Done,
    /// It was not done.
    Refused {
        /// Whether what was asked is at fault; else the broker is.
        bad_input: bool,
        /// Why, in one line.
        why: String,
    },
}

/// Does what is asked, and says what comes of it.
///
/// # Errors
/// Those of `say`.
pub fn perform<E>(
    store: &dyn Store,
    ask: Ask,
    now: u64,
    say: &mut dyn FnMut(Said) -> Result<(), E>,
) -> Result<(), E> {
    let done = match ask {
        Ask::Put { name, secret } => store.put_version(&name, &secret, now).map(Said::Kept),
        Ask::Get { name, version } => {
            let which = version.map_or(Which::Newest, Which::Version);
            store.get(&name, which).map(|got| Said::Secret(got.version, got.secret))
        }
        Ask::Revoke { name, version } => store.revoke(&name, version).map(|()| Said::Done),
        Ask::List { name } => match store.list() {
            Ok(all) => match wanted(all, name.as_deref()) {
                Ok(all) => {
                    for Listed { name, versions } in all {
                        for info in versions {
                            say(Said::Version(name.clone(), info))?;
                        }
                    }
                    Ok(Said::Done)
                }
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        },
    };
    say(done.unwrap_or_else(|error| refusal(&error)))
}

fn wanted(mut all: Vec<Listed>, name: Option<&str>) -> Result<Vec<Listed>, StoreError> {
    if let Some(name) = name {
        all.retain(|one| one.name == name);
        if all.is_empty() {
            return Err(StoreError::NoSecret);
        }
    }
    Ok(all)
}

fn refusal(error: &StoreError) -> Said {
    let bad_input = matches!(
        error,
        StoreError::Name { .. }
            | StoreError::Text
            | StoreError::TooLong
            | StoreError::NoSecret
            | StoreError::NoVersion
            | StoreError::Revoked
    );
    Said::Refused { bad_input, why: line(error).at_most(MAX_REASON / 8).to_string() }
}

/// Why a message cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The socket fails, or the other side is gone.
    #[error("the connection to the broker failed: {0}")]
    Io(#[from] std::io::Error),
    /// The other side says what makes no sense.
    #[error("the broker and this program do not understand each other: are they one version?")]
    Nonsense,
}

mod kind {
    pub(super) const PUT: u8 = 1;
    pub(super) const GET: u8 = 2;
    pub(super) const LIST: u8 = 3;
    pub(super) const REVOKE: u8 = 4;
    pub(super) const KEPT: u8 = 65;
    pub(super) const SECRET: u8 = 66;
    pub(super) const VERSION: u8 = 67;
    pub(super) const DONE: u8 = 68;
    pub(super) const REFUSED: u8 = 69;
}

/// A message that is made: as large as it will be from the start, since one that grows leaves
/// copies of a secret behind.
struct Message(Zeroizing<Vec<u8>>);

impl Message {
    fn new(kind: u8, room: usize) -> Self {
        let mut bytes = Zeroizing::new(Vec::with_capacity(room + 64));
        bytes.extend_from_slice(&[0, 0, 0, 0, kind]);
        Self(bytes)
    }

    fn number(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn long(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn bytes(self, bytes: &[u8]) -> Self {
        let mut with = self.number(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        with.0.extend_from_slice(bytes);
        with
    }

    fn whole(mut self) -> Zeroizing<Vec<u8>> {
        let length = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(start) = self.0.first_chunk_mut() {
            *start = length.to_le_bytes();
        }
        self.0
    }
}

/// Fields of a message that came.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*number))
    }

    fn long(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*number))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        std::str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

impl Ask {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let message = match self {
            Self::Put { name, secret } => {
                Message::new(kind::PUT, name.len() + secret.bytes().len())
                    .bytes(name.as_bytes())
                    .bytes(secret.bytes())
            }
            Self::Get { name, version } => Message::new(kind::GET, name.len())
                .bytes(name.as_bytes())
                .number(version.unwrap_or(0)),
            Self::List { name } => {
                let name = name.as_deref().unwrap_or_default();
                Message::new(kind::LIST, name.len()).bytes(name.as_bytes())
            }
            Self::Revoke { name, version } => {
                Message::new(kind::REVOKE, name.len()).bytes(name.as_bytes()).number(*version)
            }
        };
        message.whole()
    }

    /// The message behind a length.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (kind, fields) = message.split_first()?;
        let mut fields = Fields(fields);
        let name = fields.text()?;
        let ask = match *kind {
            kind::PUT => Self::Put { name, secret: Secret::new(fields.bytes()?.to_vec()) },
            kind::GET => {
                let version = fields.number()?;
                Self::Get { name, version: Some(version).filter(|number| *number != 0) }
            }
            kind::LIST => Self::List { name: Some(name).filter(|name| !name.is_empty()) },
            kind::REVOKE => Self::Revoke { name, version: fields.number()? },
            _ => return None,
        };
        fields.end(ask)
    }

    /// Reads one; None at the end of the stream.
    ///
    /// # Errors
    /// [`OwnerError`].
    pub fn read(from: &mut impl Read) -> Result<Option<Self>, OwnerError> {
        let Some(message) = message(from)? else { return Ok(None) };
        Self::decode(&message).map(Some).ok_or(OwnerError::Nonsense)
    }

    /// Sends it, and hands on what comes back, until all is said.
    ///
    /// # Errors
    /// [`OwnerError`]; those of `say`.
    pub fn send<E: From<OwnerError>>(
        &self,
        stream: &mut (impl Read + Write),
        say: &mut dyn FnMut(Said) -> Result<(), E>,
    ) -> Result<(), E> {
        stream.write_all(&self.encode()).map_err(OwnerError::Io)?;
        loop {
            let Some(message) = message(stream)? else {
                let gone = std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
                return Err(OwnerError::Io(gone).into());
            };
            let said = Said::decode(&message).ok_or(OwnerError::Nonsense)?;
            let more = matches!(said, Said::Version(..));
            say(said)?;
            if !more {
                return Ok(());
            }
        }
    }
}

impl Said {
    /// The message.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let message = match self {
            Self::Kept(version) => Message::new(kind::KEPT, 0).number(*version),
            Self::Secret(version, secret) => Message::new(kind::SECRET, secret.bytes().len())
                .number(*version)
                .bytes(secret.bytes()),
            Self::Version(name, info) => Message::new(kind::VERSION, name.len())
                .bytes(name.as_bytes())
                .number(info.version)
                .long(info.at)
                .long(u64::try_from(info.bytes).unwrap_or(u64::MAX))
                .number(u32::from(info.revoked)),
            Self::Done => Message::new(kind::DONE, 0),
            Self::Refused { bad_input, why } => {
                let why = why.get(..why.floor_char_boundary(MAX_REASON)).unwrap_or_default();
                Message::new(kind::REFUSED, why.len())
                    .number(u32::from(*bad_input))
                    .bytes(why.as_bytes())
            }
        };
        message.whole()
    }

    /// The message behind a length.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let (kind, fields) = message.split_first()?;
        let mut fields = Fields(fields);
        let said = match *kind {
            kind::KEPT => Self::Kept(fields.number()?),
            kind::SECRET => {
                let version = fields.number()?;
                Self::Secret(version, Secret::new(fields.bytes()?.to_vec()))
            }
            kind::VERSION => {
                let name = fields.text()?;
                let (version, at) = (fields.number()?, fields.long()?);
                let bytes = usize::try_from(fields.long()?).ok()?;
                let revoked = flag(fields.number()?)?;
                Self::Version(name, VersionInfo { version, at, bytes, revoked })
            }
            kind::DONE => Self::Done,
            kind::REFUSED => {
                let bad_input = flag(fields.number()?)?;
                Self::Refused { bad_input, why: fields.text()? }
            }
            _ => return None,
        };
        fields.end(said)
    }
}

fn flag(number: u32) -> Option<bool> {
    match number {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// The next message behind its length; None at the end of the stream.
fn message(from: &mut impl Read) -> Result<Option<Zeroizing<Vec<u8>>>, OwnerError> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_MESSAGE {
        return Err(OwnerError::Nonsense);
    }
    let mut message = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::{Ask, MAX_MESSAGE, Said};
    use casemate_store::{MAX_SECRET, Secret, VersionInfo};
    use proptest::prelude::*;

    fn asks() -> impl Strategy<Value = Ask> {
        let name = "\\PC{0,40}";
        let bytes = prop::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            (name, bytes).prop_map(|(name, bytes)| Ask::Put { name, secret: Secret::new(bytes) }),
            (name, prop::option::of(1_u32..))
                .prop_map(|(name, version)| Ask::Get { name, version }),
            prop::option::of("\\PC{1,40}").prop_map(|name| Ask::List { name }),
            (name, any::<u32>()).prop_map(|(name, version)| Ask::Revoke { name, version }),
        ]
    }

    fn answers() -> impl Strategy<Value = Said> {
        let bytes = prop::collection::vec(any::<u8>(), 0..100);
        let info = (any::<u32>(), any::<u64>(), 0..MAX_SECRET, any::<bool>());
        prop_oneof![
            any::<u32>().prop_map(Said::Kept),
            (any::<u32>(), bytes).prop_map(|(version, b)| Said::Secret(version, Secret::new(b))),
            ("\\PC{0,40}", info).prop_map(|(name, (version, at, bytes, revoked))| {
                Said::Version(name, VersionInfo { version, at, bytes, revoked })
            }),
            Just(Said::Done),
            (any::<bool>(), "\\PC{0,40}")
                .prop_map(|(bad_input, why)| Said::Refused { bad_input, why }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_asked_comes_over_as_it_was(ask in asks()) {
            let sent = ask.encode();
            prop_assert_eq!(Ask::read(&mut &sent[..]).unwrap(), Some(ask));
        }

        #[test]
        fn what_is_said_comes_over_as_it_was(said in answers()) {
            let sent = said.encode();
            prop_assert_eq!(Said::decode(&sent[4..]), Some(said));
        }

        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(0_u8..80, 0..80)) {
            let _ = Ask::read(&mut &bytes[..]);
            let _ = Said::decode(&bytes);
        }
    }

    /// A length is not believed before there are bytes.
    #[test]
    fn a_message_longer_than_any_is_refused_unread() {
        let length = u32::try_from(MAX_MESSAGE + 1).unwrap().to_le_bytes();
        assert!(Ask::read(&mut &length[..]).is_err());
        let name = "a".repeat(1024);
        let most = Ask::Put { name, secret: Secret::new(vec![1; MAX_SECRET]) };
        assert_eq!(Ask::read(&mut &most.encode()[..]).unwrap(), Some(most));
    }
}
