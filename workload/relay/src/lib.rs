//! What the two processes of a key broker say to each other, over a connected stream of bytes.
//!
//! The *front* faces the network: it speaks TLS and HTTP, and holds no key. The *keeper* holds the
//! secrets and the keys, decides, and faces the front. Each takes the other for hostile: every
//! message is read totally, within bounds that both know, into values that are checked here and
//! nowhere else ([`call`], [`answer`], [`transcript`]).
//!
//! A message is a frame: the length of what follows (u32), its kind (u8), its number (u64), its
//! fields; numbers are little-endian, a field of bytes is its length (u32) and the bytes, a field
//! that may be missing is one byte 0, or 1 and the field. The front numbers what it asks, and
//! answers come in any order. There is nothing to negotiate: both ends are of one build.
//!
//! What the front says to the supervisor that started it is a [`Word`]; the keeper has words of its
//! own.
//!
//! No I/O here but the two loops of [`stream`].
#![forbid(unsafe_code)]

pub mod answer;
pub mod call;
mod error;
mod fields;
mod frame;
pub mod stream;
pub mod transcript;
mod word;

pub use answer::{Answer, MAX_ANSWER, MAX_ANSWER_HEADER, MAX_ANSWER_HEADERS, ToFront};
pub use call::{Call, MAX_BODY, MAX_HEADER, MAX_METHOD, MAX_PATH, ToKeeper};
pub use error::RelayError;
pub use frame::{Inbox, Message, PREFIX, split};
pub use transcript::Transcript;
pub use word::{MAX_WORD, Word};
