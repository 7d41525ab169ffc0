//! What the host hands a guest before it starts, on a disk: the owner's nonce, and files that are
//! the workload's inputs. All of it is the host's word; the nonce and the digest of the inputs come
//! back with the result, where the owner compares them with what was asked for.

use crate::wire::bytes;
use crate::{Hash, NONCE, ResultError};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::io::Read;

/// Inputs of one run, at most.
pub const MAX_INPUTS: usize = 64;
/// Longest name of an input.
const MAX_NAME: usize = 255;
const MAGIC: &[u8; 16] = b"casemate-inputs\n";
const VERSION: u32 = 1;
const DOMAIN: &[u8] = b"casemate inputs v1\0";

/// A file that a workload is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// Its name: no path.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A nonce, and what inputs there are. Their contents follow one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The nonce of the run.
    pub nonce: [u8; NONCE],
    /// The inputs, in the order in which their contents follow.
    pub inputs: Vec<Input>,
}

impl Request {
    /// The request, checked.
    ///
    /// # Errors
    /// [`ResultError::Value`].
    pub fn new(nonce: [u8; NONCE], inputs: Vec<Input>) -> Result<Self, ResultError> {
        let wrong = |why| Err(ResultError::Value(why));
        if inputs.len() > MAX_INPUTS {
            return wrong("there are more than 64 inputs");
        }
        if !inputs.iter().all(|input| is_name(&input.name)) {
            return wrong("an input has a name that no file can have");
        }
        let names: BTreeSet<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        if names.len() < inputs.len() {
            return wrong("two inputs have one name");
        }
        Ok(Self { nonce, inputs })
    }

    /// As it is written, without the contents.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend(u32::try_from(self.inputs.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(self.nonce);
        for Input { name, size } in &self.inputs {
            out.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            out.extend(size.to_le_bytes());
            out.extend(name.as_bytes());
        }
        out
    }

    /// Reads one; the contents of its inputs come next in the stream.
    ///
    /// # Errors
    /// [`ResultError`].
    pub fn read(from: &mut impl Read) -> Result<Self, ResultError> {
        const OF: &str = "the request";
        if bytes::<16>(from, OF)? != *MAGIC {
            return Err(ResultError::Other("request with inputs of a workload"));
        }
        let version = u32::from_le_bytes(bytes(from, OF)?);
        if version != VERSION {
            return Err(ResultError::Version(version));
        }
        let count = u32::from_le_bytes(bytes(from, OF)?);
        let nonce = bytes(from, OF)?;
        if usize::try_from(count).map_or(true, |count| count > MAX_INPUTS) {
            return Err(ResultError::Value("there are more than 64 inputs"));
        }
        let mut inputs = Vec::new();
        for _ in 0..count {
            let len = usize::from(u16::from_le_bytes(bytes(from, OF)?));
            let size = u64::from_le_bytes(bytes(from, OF)?);
            let mut name = vec![0; len.min(MAX_NAME + 1)];
            crate::wire::exactly(from, &mut name, OF)?;
            let name = String::from_utf8(name).unwrap_or_default();
            inputs.push(Input { name, size });
        }
        Self::new(nonce, inputs)
    }
}

/// The name of a file in a folder.
fn is_name(name: &str) -> bool {
    let plain = !name.contains(['/', '\0']) && name != "." && name != "..";
    plain && (1..=MAX_NAME).contains(&name.len())
}

/// The digest of a run's inputs: SHA-256 over `casemate inputs v1`, a zero byte, and for each input
/// the length of its name in two bytes, its name, its size in eight bytes and the SHA-256 of its
/// contents; numbers are little-endian.
#[derive(Debug, Clone)]
pub struct InputDigest(Sha256);

impl Default for InputDigest {
    fn default() -> Self {
        Self(Sha256::new_with_prefix(DOMAIN))
    }
}

impl InputDigest {
    /// Takes the next input, whose contents are all that `from` gives, and hands each part of them
    /// to `keep`.
    ///
    /// # Errors
    /// [`ResultError::CutOff`] for fewer bytes than its size, and what `keep` says.
    pub fn add(
        &mut self,
        input: &Input,
        from: &mut impl Read,
        mut keep: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), ResultError> {
        let mut contents = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        let mut left = input.size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..want).unwrap_or_default();
            crate::wire::exactly(from, part, "an input")?;
            contents.update(&*part);
            keep(part)?;
            left = left.saturating_sub(u64::try_from(want).unwrap_or(u64::MAX));
        }
        self.0.update(u16::try_from(input.name.len()).unwrap_or(u16::MAX).to_le_bytes());
        self.0.update(&input.name);
        self.0.update(input.size.to_le_bytes());
        self.0.update(contents.finalize());
        Ok(())
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}
