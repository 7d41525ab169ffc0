//! What the front asks of the keeper.

use crate::error::RelayError;
use crate::fields::{Reader, Writer, within};
use crate::frame::{Message, PREFIX};
use crate::transcript::Transcript;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest method, in bytes. The longest that is registered has 17 (UPDATEREDIRECTREF).
pub const MAX_METHOD: usize = 20;
/// Longest path with its query, in bytes.
pub const MAX_PATH: usize = 2048;
/// Longest value of a header, in bytes.
pub const MAX_HEADER: usize = 8 * 1024;
/// Longest body of a request, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

const CALL: u8 = 0x01;
const SIGN: u8 = 0x02;

/// A request of the network, as far as its answer depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Whose connection it came over; none for a socket in the file system.
    pub peer: Option<IpAddr>,
    /// The method: 1 to [`MAX_METHOD`] letters and other characters of a token (RFC 9110, section
    /// 5.6.2).
    pub method: &'a str,
    /// The path and its query, as they stand in the request's first line: 1 to [`MAX_PATH`]
    /// visible ASCII characters.
    pub path: &'a str,
    /// The `Cookie` header: at most [`MAX_HEADER`] bytes, no control characters but tabs.
    pub cookie: Option<&'a [u8]>,
    /// The `Authorization` header, as the cookie's.
    pub authorization: Option<&'a [u8]>,
    /// The body: at most [`MAX_BODY`] bytes of anything.
    pub body: &'a [u8],
}

/// What the front asks of the keeper, and under which number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToKeeper<'a> {
    /// To be answered by a [`crate::ToFront::Answer`] of this number.
    Call {
        /// The number.
        id: u64,
        /// The request.
        call: Call<'a>,
    },
    /// To be answered by a [`crate::ToFront::Signature`] of this number.
    Sign {
        /// The number.
        id: u64,
        /// What is to be signed with the key of the broker's certificate.
        transcript: Transcript,
    },
}

impl<'a> Call<'a> {
    fn checked(self) -> Result<Self, RelayError> {
        let Self { peer: _, method, path, cookie, authorization, body } = self;
        within("a method", method.len(), MAX_METHOD)?;
        if method.is_empty() || !method.bytes().all(is_token) {
            return Err(RelayError::Value { what: "a method", why: "is not a token" });
        }
        within("a path", path.len(), MAX_PATH)?;
        if path.is_empty() || !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = "is not one or more visible ASCII characters";
            return Err(RelayError::Value { what: "a path", why });
        }
        for header in [cookie, authorization].into_iter().flatten() {
            within("a header", header.len(), MAX_HEADER)?;
            if header.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t') {
                let why = "has control characters in it";
                return Err(RelayError::Value { what: "a header", why });
            }
        }
        within("a body", body.len(), MAX_BODY)?;
        Ok(self)
    }

    fn read(fields: &mut Reader<'a>) -> Result<Self, RelayError> {
        let text = |bytes| {
            let wrong = RelayError::Value { what: "a method or a path", why: "is not text" };
            std::str::from_utf8(bytes).map_err(|_| wrong)
        };
        let header = |fields: &mut Reader<'a>| fields.bytes("a header", MAX_HEADER);
        Self {
            peer: fields.maybe("a peer", peer)?,
            method: text(fields.bytes("a method", MAX_METHOD)?)?,
            path: text(fields.bytes("a path", MAX_PATH)?)?,
            cookie: fields.maybe("a cookie", header)?,
            authorization: fields.maybe("a token", header)?,
            body: fields.bytes("a body", MAX_BODY)?,
        }
        .checked()
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.maybe(self.peer, |out, peer| match peer {
            IpAddr::V4(address) => out.bytes(&address.octets()),
            IpAddr::V6(address) => out.bytes(&address.octets()),
        });
        out.bytes(self.method.as_bytes());
        out.bytes(self.path.as_bytes());
        out.maybe(self.cookie, Writer::bytes);
        out.maybe(self.authorization, Writer::bytes);
        out.bytes(self.body);
    }
}

fn peer(fields: &mut Reader<'_>) -> Result<IpAddr, RelayError> {
    let bytes = fields.bytes("a peer", 16)?;
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).into());
    v4.or_else(|_| v6()).map_err(|_| RelayError::Value { what: "a peer", why: "is no address" })
}

/// A character of a token (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_'
        )
        || matches!(byte, b'`' | b'|' | b'~')
}

impl<'a> Message<'a> for ToKeeper<'a> {
    /// The call with the most in it: six lengths, three bytes that say what is there.
    const MOST: usize = PREFIX + 6 * 4 + 3 + 16 + MAX_METHOD + MAX_PATH + 2 * MAX_HEADER + MAX_BODY;

    fn read(after_length: &'a [u8]) -> Result<Self, RelayError> {
        let mut fields = Reader(after_length);
        let [kind] = fields.fixed("its kind")?;
        let id = u64::from_le_bytes(fields.fixed("its number")?);
        let message = match kind {
            CALL => Self::Call { id, call: Call::read(&mut fields)? },
            SIGN => {
                let hash = fields.bytes("a hash", Transcript::MAX_HASH)?;
                let transcript = Transcript::of_hash(hash)?;
                Self::Sign { id, transcript }
            }
            kind => return Err(RelayError::UnknownKind(kind)),
        };
        fields.end()?;
        Ok(message)
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), RelayError> {
        match self {
            Self::Call { id, call } => {
                let call = call.checked()?;
                let mut out = Writer::begin(out, CALL, *id);
                call.write(&mut out);
                out.end();
            }
            Self::Sign { id, transcript } => {
                let mut out = Writer::begin(out, SIGN, *id);
                out.bytes(transcript.hash());
                out.end();
            }
        }
        Ok(())
    }
}
