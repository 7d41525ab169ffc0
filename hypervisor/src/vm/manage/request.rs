//! What who asks can ask for: one packet of text.

use crate::config::is_name;
use casemate_device_process::{Limits, Rate};
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
    /// To hold the guest within these limits of a disk from now on.
    Limit(String, Limits),
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
            Self::Limit(disk, Limits { bytes, operations }) => {
                write!(f, "limit {disk}")?;
                let numbers = |rate: Rate| [rate.per_second(), rate.burst()];
                let of = |rate: &Option<Rate>| rate.map_or([0; 2], numbers);
                let all = [of(bytes), of(operations)];
                all.as_flattened().iter().try_for_each(|number| write!(f, " {number}"))
            }
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
            "limit" => Self::limit(rest)?,
            _ => return None,
        };
        // One spelling: a sign, a leading zero or a word too many is none.
        (request.to_string() == text).then_some(request)
    }

    fn limit(text: &str) -> Option<Self> {
        let (disk, numbers) = text.split_once(' ')?;
        let numbers: Vec<u64> =
            numbers.split(' ').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        let rate = |per_second, burst| match (per_second, burst) {
            (0, 0) => Some(None),
            _ => Rate::new(per_second, burst).map(Some),
        };
        let &[a, b, c, d] = numbers.as_slice() else { return None };
        let limits = Limits { bytes: rate(a, b)?, operations: rate(c, d)? };
        is_name(disk).then(|| Self::Limit(disk.to_owned(), limits))
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, MAX_REQUEST, Rate, Request};

    #[test]
    fn a_request_has_one_spelling_and_everything_else_is_none() {
        for request in [
            Request::Facts,
            Request::Stop,
            Request::End,
            Request::Lines(0),
            Request::NextLines(u64::MAX),
            Request::WaitForEnd,
            Request::Limit("disk0".into(), Limits::default()),
            Request::Limit("a.b".into(), Limits { bytes: Rate::new(7, 9), operations: None }),
        ] {
            let text = request.to_string();
            assert_eq!(Request::decode(text.as_bytes()), Some(request));
            assert_eq!(Request::decode(format!("{text} ").as_bytes()), None);
            assert_eq!(Request::decode(format!("{text}\n").as_bytes()), None);
        }
        for bad in
            ["", "fact", "lines", "lines +1", "lines 01", "lines 18446744073709551616", "limit"]
        {
            assert_eq!(Request::decode(bad.as_bytes()), None, "{bad:?}");
        }
        for bad in
            ["d 0 0 0", "d 0 0 0 0 0", "d/e 0 0 0 0", "d 1 0 0 0", "d 0 0 9000 8", " 0 0 0 0"]
        {
            assert_eq!(Request::decode(format!("limit {bad}").as_bytes()), None, "{bad:?}");
        }
        assert_eq!(Request::decode(&[b'x'; MAX_REQUEST + 1]), None);
        assert_eq!(Request::decode(b"\xff"), None);
    }
}
