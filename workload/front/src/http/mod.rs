//! HTTP/1.1 as a key broker takes it (RFC 9112): bytes in, requests out; answers in, bytes out.
//! Nothing here waits, and nothing is known of connections.

mod date;
mod head;
mod lines;
mod reader;
mod refusal;
mod response;

pub use head::{MAX_HEADERS, Method};
pub use lines::{MAX_HEAD, MAX_LINE};
pub use reader::{Reader, Request, Step};
pub use refusal::Refusal;
pub use response::{CONTINUE, answer, refuse};
