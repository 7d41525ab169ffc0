//! What who asks can ask for: one packet of text.

use std::fmt;

/// Longest request, bytes.
pub(super) const MAX_REQUEST: usize = 256;

/// A request to the supervisor of a running VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// What the VM is: [`super::Facts`].
    Facts,
    /// To press the power button: the guest has its grace to switch itself off.
    Stop,
    /// To end the VM at once.
    End,
    /// Lines of what happened, from the one with this number on; what there is.
    Lines(u64),
    /// The same, as soon as there is any.
    NextLines(u64),
    /// To be told when the VM has ended.
    WaitForEnd,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Facts => f.write_str("facts"),
            Self::Stop => f.write_str("stop"),
            Self::End => f.write_str("end"),
            Self::Lines(from) => write!(f, "lines {from}"),
            Self::NextLines(from) => write!(f, "next-lines {from}"),
            Self::WaitForEnd => f.write_str("wait-for-end"),
        }
    }
}

impl Request {
    /// The request of a packet; None when it is none.
    #[must_use]
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(packet).ok().filter(|text| text.len() <= MAX_REQUEST)?;
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let request = match word {
            "facts" => Self::Facts,
            "stop" => Self::Stop,
            "end" => Self::End,
            "lines" => Self::Lines(rest.parse().ok()?),
            "next-lines" => Self::NextLines(rest.parse().ok()?),
            "wait-for-end" => Self::WaitForEnd,
            _ => return None,
        };
        // One spelling: a sign, a leading zero or a word too many is none.
        (request.to_string() == text).then_some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_REQUEST, Request};

    #[test]
    fn a_request_has_one_spelling_and_everything_else_is_none() {
        for request in [
            Request::Facts,
            Request::Stop,
            Request::End,
            Request::Lines(0),
            Request::NextLines(u64::MAX),
            Request::WaitForEnd,
        ] {
            let text = request.to_string();
            assert_eq!(Request::decode(text.as_bytes()), Some(request));
            assert_eq!(Request::decode(format!("{text} ").as_bytes()), None);
            assert_eq!(Request::decode(format!("{text}\n").as_bytes()), None);
        }
        for bad in ["", "fact", "lines", "lines +1", "lines 01", "lines 18446744073709551616"] {
            assert_eq!(Request::decode(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Request::decode(&[b'x'; MAX_REQUEST + 1]), None);
        assert_eq!(Request::decode(b"\xff"), None);
    }
}
