//! What the keeper answers to the front.

use crate::error::RelayError;
use crate::fields::{Reader, Writer, within};
use crate::frame::{Message, PREFIX};

/// Longest body of an answer, in bytes: a secret of 1 MiB, sealed and in Base64.
pub const MAX_ANSWER: usize = 1536 * 1024;
/// Most headers of an answer.
pub const MAX_ANSWER_HEADERS: usize = 4;
/// Longest header of an answer, name or value, in bytes.
pub const MAX_ANSWER_HEADER: usize = 8 * 1024;
/// Longest signature: an RSA one of 4096 bits has 512 bytes.
const MAX_SIGNATURE: usize = 512;

const ANSWER: u8 = 0x81;
const SIGNATURE: u8 = 0x82;

/// An answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<'a> {
    /// 200 to 599.
    pub status: u16,
    /// Headers beside those that are HTTP's own: at most [`MAX_ANSWER_HEADERS`] names, letters and
    /// hyphens, with values of printable ASCII: what cannot end a line, nor be `Content-Length` or
    /// another name that says where the answer ends.
    pub headers: Vec<(&'a str, &'a str)>,
    /// JSON: at most [`MAX_ANSWER`] bytes.
    pub body: &'a [u8],
}

/// What the keeper answers, and to which number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToFront<'a> {
    /// To a [`crate::ToKeeper::Call`].
    Answer {
        /// Its number.
        id: u64,
        /// The answer.
        answer: Answer<'a>,
    },
    /// To a [`crate::ToKeeper::Sign`].
    Signature {
        /// Its number.
        id: u64,
        /// The signature, as TLS has it; none when the keeper failed.
        signature: Option<&'a [u8]>,
    },
}

/// Names that say where an answer begins or ends, or what becomes of the connection: the front's
/// alone.
const FRAMING: [&str; 7] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
];

fn header(name: &str, value: &str) -> Result<(), RelayError> {
    let what = "a header";
    within(what, name.len(), MAX_ANSWER_HEADER)?;
    within(what, value.len(), MAX_ANSWER_HEADER)?;
    let letters = |byte: u8| byte.is_ascii_alphabetic() || byte == b'-';
    if name.is_empty() || !name.bytes().all(letters) {
        return Err(RelayError::Value { what, why: "has a name of other than letters" });
    }
    if FRAMING.iter().any(|framing| name.eq_ignore_ascii_case(framing)) {
        return Err(RelayError::Value { what, why: "is the connection's own" });
    }
    if !value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
        return Err(RelayError::Value { what, why: "has a value that is not printable ASCII" });
    }
    Ok(())
}

impl<'a> Answer<'a> {
    fn checked(self) -> Result<Self, RelayError> {
        if !(200..600).contains(&self.status) {
            let why = "is not 200 to 599";
            return Err(RelayError::Value { what: "a status", why });
        }
        if self.headers.len() > MAX_ANSWER_HEADERS {
            return Err(RelayError::Value { what: "an answer", why: "has too many headers" });
        }
        self.headers.iter().try_for_each(|(name, value)| header(name, value))?;
        within("an answer", self.body.len(), MAX_ANSWER)?;
        Ok(self)
    }

    fn read(fields: &mut Reader<'a>) -> Result<Self, RelayError> {
        let status = u16::from_le_bytes(fields.fixed("a status")?);
        let [count] = fields.fixed("its headers")?;
        if usize::from(count) > MAX_ANSWER_HEADERS {
            return Err(RelayError::Value { what: "an answer", why: "has too many headers" });
        }
        let mut text = || {
            let bytes = fields.bytes("a header", MAX_ANSWER_HEADER)?;
            let wrong = RelayError::Value { what: "a header", why: "is not text" };
            std::str::from_utf8(bytes).map_err(|_| wrong)
        };
        let headers =
            (0..count).map(|_| Ok((text()?, text()?))).collect::<Result<_, RelayError>>()?;
        let body = fields.bytes("an answer", MAX_ANSWER)?;
        Self { status, headers, body }.checked()
    }

    fn write(&self, out: &mut Writer<'_>) {
        out.fixed(&self.status.to_le_bytes());
        out.fixed(&[u8::try_from(self.headers.len()).unwrap_or(u8::MAX)]);
        for (name, value) in &self.headers {
            out.bytes(name.as_bytes());
            out.bytes(value.as_bytes());
        }
        out.bytes(self.body);
    }
}

impl<'a> Message<'a> for ToFront<'a> {
    const MOST: usize =
        PREFIX + 2 + 1 + MAX_ANSWER_HEADERS * 2 * (4 + MAX_ANSWER_HEADER) + 4 + MAX_ANSWER;

    fn read(after_length: &'a [u8]) -> Result<Self, RelayError> {
        let mut fields = Reader(after_length);
        let [kind] = fields.fixed("its kind")?;
        let id = u64::from_le_bytes(fields.fixed("its number")?);
        let message = match kind {
            ANSWER => Self::Answer { id, answer: Answer::read(&mut fields)? },
            SIGNATURE => {
                let signature =
                    |fields: &mut Reader<'a>| fields.bytes("a signature", MAX_SIGNATURE);
                Self::Signature { id, signature: fields.maybe("a signature", signature)? }
            }
            kind => return Err(RelayError::UnknownKind(kind)),
        };
        fields.end()?;
        Ok(message)
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), RelayError> {
        match self {
            Self::Answer { id, answer } => {
                let answer = answer.clone().checked()?;
                let mut out = Writer::begin(out, ANSWER, *id);
                answer.write(&mut out);
                out.end();
            }
            Self::Signature { id, signature } => {
                within("a signature", signature.map_or(0, <[u8]>::len), MAX_SIGNATURE)?;
                let mut out = Writer::begin(out, SIGNATURE, *id);
                out.maybe(*signature, Writer::bytes);
                out.end();
            }
        }
        Ok(())
    }
}
