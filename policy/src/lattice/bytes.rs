//! Sets of digests, chip identifiers and other short byte strings, given by their members or by
//! what is left out.

use super::Lattice;

/// A byte string of at most 64 bytes: a digest, chip id or similar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes {
    len: u8,
    data: [u8; 64],
}

impl Bytes {
    /// Copies `bytes`; `None` when there are more than 64.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let len = u8::try_from(bytes.len()).ok()?;
        let mut data = [0; 64];
        data.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { len, data })
    }

    /// `len` zero bytes (at most 64): what the firmware reports for "not set".
    #[must_use]
    pub fn zero(len: u8) -> Self {
        Self { len: len.min(64), data: [0; 64] }
    }

    /// What stands for the HOST_DATA of a guest whose initdata holds the very document that is
    /// asked: no bytes, which no digest is.
    ///
    /// A document cannot list the hash of a text that it is a part of, so this fact takes the
    /// place of the hash, and sets of byte strings stay sets.
    pub const INITDATA: Self = Self { len: 0, data: [0; 64] };

    /// The bytes, as many as it was made of.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.data.get(..usize::from(self.len)).unwrap_or(&self.data)
    }

    /// Reads lower or upper case hexadecimal; `None` for anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        // An odd digit, or more than 64 bytes, is no byte string; the decoder below sees whole
        // pairs only.
        if !digits.len().is_multiple_of(2) || digits.len() > 128 {
            return None;
        }
        let mut out = Self { len: u8::try_from(digits.len() / 2).ok()?, data: [0; 64] };
        for (byte, pair) in out.data.iter_mut().zip(digits.chunks_exact(2)) {
            if let [high, low] = pair {
                *byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
            }
        }
        Some(out)
    }

    /// Lower case hexadecimal, two digits a byte.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(self.as_slice())
    }

    /// The word or the digits by which exports name it.
    #[must_use]
    pub(crate) fn to_text(self) -> String {
        if self == Self::INITDATA { "initdata".into() } else { self.to_hex() }
    }

    /// Equality, of which a launch decision needs half a dozen: of the whole array, whose length is
    /// known.
    #[inline]
    fn same(&self, other: &Self) -> bool {
        // What is behind the length is zero in every value, so the arrays are equal when the bytes
        // are.
        self.len == other.len && self.data == other.data
    }

    fn successor(&self) -> Option<Self> {
        // Counts up like a number, big-endian: the carry goes on while bytes overflow, and past the
        // first there is no successor.
        let mut next = *self;
        let used = usize::from(self.len);
        for byte in next.data.iter_mut().take(used).rev() {
            let (value, overflow) = byte.overflowing_add(1);
            *byte = value;
            if !overflow {
                return Some(next);
            }
        }
        None
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.to_hex())
    }
}

/// The value of a hexadecimal digit in either case: flags, policies and evidence are read by it.
#[must_use]
pub const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Lower case hexadecimal of any bytes.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    write_hex(&mut out, bytes);
    out
}

/// Appends lower case hexadecimal of any bytes.
pub(crate) fn write_hex(out: &mut String, bytes: &[u8]) {
    const fn digit(value: u8) -> u8 {
        if value < 10 { b'0' + value } else { b'a' + value - 10 }
    }
    // A few bytes at a time, so that the text grows by pieces that are known to be text.
    let mut piece = [0; 64];
    for chunk in bytes.chunks(32) {
        let (pairs, _) = piece.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(chunk) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        let used = piece.get(..chunk.len().saturating_mul(2)).unwrap_or_default();
        out.push_str(std::str::from_utf8(used).unwrap_or_default());
    }
}

/// Apart from the look-up among one, which is the usual one.
#[inline(never)]
fn lists_among(members: &[Bytes], x: &Bytes) -> bool {
    // Members are sorted when the set is built.
    members.binary_search(x).is_ok()
}

/// A set of byte strings: these, or all but these. Members are sorted and unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ByteSet {
    except: bool,
    members: Box<[Bytes]>,
}

impl ByteSet {
    /// Exactly these byte strings.
    #[must_use]
    pub fn only(members: Vec<Bytes>) -> Self {
        Self::build(false, members)
    }

    /// Everything but these byte strings.
    #[must_use]
    pub fn except(members: Vec<Bytes>) -> Self {
        Self::build(true, members)
    }

    fn build(except: bool, mut members: Vec<Bytes>) -> Self {
        // Sorted and unique: equal sets are equal values.
        members.sort_unstable();
        members.dedup();
        Self { except, members: members.into() }
    }

    /// Whether the members are what is left out.
    #[must_use]
    pub fn is_except(&self) -> bool {
        self.except
    }

    /// The members listed, in order.
    #[must_use]
    pub fn members(&self) -> &[Bytes] {
        &self.members
    }

    #[inline]
    fn lists(&self, x: &Bytes) -> bool {
        match &*self.members {
            [one] => one.same(x),
            many => lists_among(many, x),
        }
    }

    /// Whether `x` is in the set.
    #[must_use]
    #[inline]
    pub fn admits(&self, x: &Bytes) -> bool {
        // Listed and "all but these" are the same look-up with another answer.
        self.lists(x) != self.except
    }

    /// Some member, of `len` bytes where the set is given by what is left out.
    #[must_use]
    pub fn sample(&self, len: u8) -> Option<Bytes> {
        if !self.except {
            return self.members.first().copied();
        }
        // Not zeros, which stand for "not set"; then the first that is not left out. Finitely many
        // are, so this ends soon.
        let mut candidate = Bytes::zero(len).successor()?;
        while self.lists(&candidate) {
            candidate = candidate.successor()?;
        }
        Some(candidate)
    }

    /// A byte string that `self` admits and `other` does not.
    #[must_use]
    pub fn witness_against(&self, other: &Self, len: u8) -> Option<Bytes> {
        // Any difference of two sets shows at a listed member, but for one case: all but some
        // against some. Then what neither lists is the witness.
        let listed = self.members.iter().chain(&*other.members);
        if let Some(found) = listed.copied().find(|x| self.admits(x) && !other.admits(x)) {
            return Some(found);
        }
        if self.except && !other.except {
            return self.join(other).minus(other).sample(len);
        }
        None
    }

    /// What `self` admits and `other`, given by its members, does not.
    fn minus(&self, other: &Self) -> Self {
        self.meet(&Self { except: !other.except, members: other.members.clone() })
    }

    fn keep(&self, wanted: impl Fn(&Bytes) -> bool) -> Vec<Bytes> {
        self.members.iter().copied().filter(wanted).collect()
    }

    fn together(&self, other: &Self) -> Vec<Bytes> {
        self.members.iter().chain(&*other.members).copied().collect()
    }
}

impl Lattice for ByteSet {
    fn top() -> Self {
        Self { except: true, members: Box::default() }
    }
    fn bottom() -> Self {
        Self { except: false, members: Box::default() }
    }
    fn meet(&self, other: &Self) -> Self {
        // Sets given by members are finite: an intersection with one is a part of it. Two
        // complements leave out what either leaves out.
        match (self.except, other.except) {
            (false, _) => Self::only(self.keep(|x| other.admits(x))),
            (true, false) => Self::only(other.keep(|x| self.admits(x))),
            (true, true) => Self::except(self.together(other)),
        }
    }
    fn join(&self, other: &Self) -> Self {
        // The same by De Morgan: a complement in a union stays one, less what the other admits.
        match (self.except, other.except) {
            (false, false) => Self::only(self.together(other)),
            (true, _) => Self::except(self.keep(|x| !other.admits(x))),
            (false, true) => Self::except(other.keep(|x| !self.admits(x))),
        }
    }
    fn le(&self, other: &Self) -> bool {
        // A complement is never inside a finite set: there are more byte strings than any list
        // holds.
        match (self.except, other.except) {
            (false, _) => self.members.iter().all(|x| other.admits(x)),
            (true, true) => other.members.iter().all(|x| !self.admits(x)),
            (true, false) => false,
        }
    }
    fn is_empty(&self) -> bool {
        !self.except && self.members.is_empty()
    }
    fn is_any(&self) -> bool {
        self.except && self.members.is_empty()
    }
}
