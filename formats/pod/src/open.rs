//! Values that the host may choose, and what each may be.

use crate::value::{is_domain, is_label};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The type of a value that the host chooses. All that a program has to expect of such a variable
/// is here, so that nothing else reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenValue {
    /// One IP address.
    Ip,
    /// One or two of them, with a comma between.
    Ips,
    /// A label of DNS: a pod's hostname, a namespace.
    Label,
    /// Labels with dots between them: names of pods and nodes.
    Domain,
    /// A decimal number below 2^64.
    Number,
    /// A UUID in lower case, with its four dashes.
    Uuid,
}

const WORDS: [(OpenValue, &str); 6] = [
    (OpenValue::Ip, "ip"),
    (OpenValue::Ips, "ips"),
    (OpenValue::Label, "dns1123"),
    (OpenValue::Domain, "domain"),
    (OpenValue::Number, "number"),
    (OpenValue::Uuid, "uuid"),
];

impl OpenValue {
    /// Whether a value is of this type.
    #[must_use]
    pub fn admits(self, value: &str) -> bool {
        let ip = |text: &str| text.len() <= 45 && text.parse::<IpAddr>().is_ok();
        match self {
            Self::Ip => ip(value),
            Self::Ips => value.split(',').count() <= 2 && value.split(',').all(ip),
            Self::Label => is_label(value),
            Self::Domain => is_domain(value),
            Self::Number => {
                value.bytes().all(|byte| byte.is_ascii_digit()) && value.parse::<u64>().is_ok()
            }
            Self::Uuid => {
                let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let lengths = value.split('-').map(str::len);
                lengths.eq([8, 4, 4, 4, 12]) && value.bytes().all(|byte| byte == b'-' || hex(byte))
            }
        }
    }
}

impl fmt::Display for OpenValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = WORDS.iter().find(|(value, _)| value == self).map_or("", |(_, word)| word);
        out.write_str(word)
    }
}

impl FromStr for OpenValue {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = WORDS.iter().find(|(_, word)| *word == text).map(|(value, _)| *value);
        value.ok_or("is no type of open values: ip, ips, dns1123, domain, number, uuid")
    }
}
