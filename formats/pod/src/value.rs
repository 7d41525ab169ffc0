//! Values that several parts of a manifest have.

use std::fmt;
use std::str::FromStr;

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WHY: &str = "is no SHA-256 of 64 lower-case hexadecimal digits";
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(digit) {
            return Err(WHY);
        }
        let mut bytes = [0; 32];
        for (to, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| WHY)?;
            *to = u8::from_str_radix(pair, 16).map_err(|_| WHY)?;
        }
        Ok(Self(bytes))
    }
}

/// An amount of memory or of a disk, in MiB: 1 to 16 TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mebibytes(u32);

impl Mebibytes {
    const MOST: u32 = 16 << 20;

    /// This many MiB; None for none, and for more than 16 TiB.
    #[must_use]
    pub fn new(mebibytes: u32) -> Option<Self> {
        (1..=Self::MOST).contains(&mebibytes).then_some(Self(mebibytes))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

impl FromStr for Mebibytes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        number(text).and_then(Self::new).ok_or("is no number of MiB from 1 to 16777216")
    }
}

/// A number in its one spelling: digits, and no zero before others.
pub(crate) fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok())?
}

/// Whether a text is a label of DNS as Kubernetes writes names: 1 to 63 of a-z, 0-9 and, neither
/// first nor last, `-` (RFC 1123).
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether a text is a name of labels with dots between them, of at most 253 bytes.
pub(crate) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Whether a text is a path from the root in its one spelling: no empty part, no `.` or `..`, no
/// zero byte, no slash at its end, at most 1024 bytes. `/` is one.
#[must_use]
pub fn is_container_path(text: &str) -> bool {
    let part = |part: &str| !matches!(part, "" | "." | "..") && part.len() <= 255;
    let Some(parts) = text.strip_prefix('/') else { return false };
    let plain = text.len() <= 1024 && !text.contains(['\0', '\n']);
    plain && (parts.is_empty() || parts.split('/').all(part))
}

/// Whether a text names one file in a folder: what keys of a ConfigMap may be.
#[must_use]
pub fn is_file(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    // Kubernetes keeps names that begin with two dots for itself.
    (1..=253).contains(&text.len())
        && text.bytes().all(plain)
        && text != "."
        && !text.starts_with("..")
}
