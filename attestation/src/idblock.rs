//! ID block and ID authentication structure: what a guest owner signs before a launch.
//!
//! The firmware compares the ID block's launch digest and policy with the launch, checks both
//! signatures and puts the digests of both keys into every report. Source: SEV-SNP firmware ABI
//! (AMD 56860), SNP_LAUNCH_FINISH, tables of ID_BLOCK and ID_AUTH_INFO.

mod key;

pub use key::OwnerKey;

use crate::digest::{Digest384, sha384};
use ring::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

/// Bytes of an ID block.
pub const ID_BLOCK_SIZE: usize = 96;
/// Bytes of an ID authentication structure.
pub const ID_AUTH_SIZE: usize = 4096;
/// Bytes of a public key in it: curve in 4, x and y in 72 each, the rest zero.
pub const PUBLIC_KEY_SIZE: usize = 1028;
/// Algorithm and curve: ECDSA P-384 with SHA-384.
const ALGORITHM_P384: u32 = 1;
const CURVE_P384: u32 = 2;
/// Offsets in the authentication structure.
const BLOCK_SIGNATURE: usize = 0x40;
const ID_KEY: usize = 0x240;
const KEY_SIGNATURE: usize = 0x680;
const AUTHOR_KEY: usize = 0x880;

/// Why an ID block or its authentication is not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// A structure has another length than the only one it can have.
    #[error("{what} has {expected} bytes")]
    Length {
        /// Which structure, with its article.
        what: &'static str,
        /// Bytes that it has to have.
        expected: usize,
    },
    /// A version other than 1.
    #[error("ID block version {0} is not 1")]
    Version(u32),
    /// An algorithm or curve other than ECDSA P-384.
    #[error("{0}: not ECDSA P-384 with SHA-384")]
    Algorithm(&'static str),
    /// A reserved byte is not zero.
    #[error("reserved byte at {0:#x} of the ID authentication is not zero")]
    Reserved(usize),
    /// A signature does not verify.
    #[error("{0} does not verify")]
    Signature(&'static str),
    /// A private key that cannot be used.
    #[error(
        "not a P-384 private key with its public key; `openssl ec | openssl pkcs8 -topk8 -nocrypt` \
         writes one"
    )]
    PrivateKey,
    /// A private key in a form that is not read.
    #[error("the key is {0}")]
    KeyForm(&'static str),
}

/// An ID block or authentication structure in a file: its bytes, or these in base64, as QEMU takes
/// them. Anything else is returned as it is, to be refused for its length.
#[must_use]
pub fn from_file(bytes: Vec<u8>, size: usize) -> Vec<u8> {
    if bytes.len() == size {
        return bytes;
    }
    let decoded = std::str::from_utf8(&bytes).ok().and_then(crate::base64::decode);
    decoded.filter(|decoded| decoded.len() == size).unwrap_or(bytes)
}

/// The ID block: what its signer says a launch has to be, and the names it gives to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdBlock {
    /// The launch digest that the guest must have.
    pub launch_digest: Digest384,
    /// Family identifier, the signer's own choice; reports repeat it.
    pub family_id: [u8; 16],
    /// Image identifier, the signer's own choice; reports repeat it.
    pub image_id: [u8; 16],
    /// Security version of the guest, the signer's own count; reports repeat it.
    pub guest_svn: u32,
    /// The policy that the guest must be launched with.
    pub policy: u64,
}

impl IdBlock {
    /// The 96 bytes of the structure, little-endian, version 1.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ID_BLOCK_SIZE] {
        // In the order of ID_BLOCK: LD, FAMILY_ID, IMAGE_ID, VERSION, GUEST_SVN, POLICY. The parts
        // fill the structure exactly.
        let parts: [&[u8]; 6] = [
            &self.launch_digest,
            &self.family_id,
            &self.image_id,
            &1u32.to_le_bytes(),
            &self.guest_svn.to_le_bytes(),
            &self.policy.to_le_bytes(),
        ];
        let mut out = [0; ID_BLOCK_SIZE];
        for (to, from) in out.iter_mut().zip(parts.iter().flat_map(|part| part.iter())) {
            *to = *from;
        }
        out
    }

    /// Reads an ID block.
    ///
    /// # Errors
    /// [`IdError`] for its length or version.
    pub fn parse(bytes: &[u8]) -> Result<Self, IdError> {
        let bytes: &[u8; ID_BLOCK_SIZE] = bytes
            .try_into()
            .map_err(|_| IdError::Length { what: "an ID block", expected: ID_BLOCK_SIZE })?;
        let version = u32::from_le_bytes(at(bytes, 80));
        if version != 1 {
            return Err(IdError::Version(version));
        }
        Ok(Self {
            launch_digest: at(bytes, 0),
            family_id: at(bytes, 48),
            image_id: at(bytes, 64),
            guest_svn: u32::from_le_bytes(at(bytes, 84)),
            policy: u64::from_le_bytes(at(bytes, 88)),
        })
    }
}

/// Signs an ID block; with an author key, the ID key too.
///
/// # Errors
/// [`IdError`] when a key cannot sign.
pub fn authenticate(
    block: &IdBlock,
    id_key: &OwnerKey,
    author: Option<&OwnerKey>,
) -> Result<[u8; ID_AUTH_SIZE], IdError> {
    let mut out = [0; ID_AUTH_SIZE];
    let public = id_key.public_key();
    // The structure is zeros but for what is written: reserved fields have to be, and so does an
    // author key that is not there.
    put(&mut out, 0, &ALGORITHM_P384.to_le_bytes());
    put(&mut out, BLOCK_SIGNATURE, &id_key.sign(&block.to_bytes())?);
    put(&mut out, ID_KEY, &public);
    if let Some(author) = author {
        // The author signs the ID key, so that an owner can give out a key a release and hold the
        // one that vouches for them.
        put(&mut out, 4, &ALGORITHM_P384.to_le_bytes());
        put(&mut out, KEY_SIGNATURE, &author.sign(&public)?);
        put(&mut out, AUTHOR_KEY, &author.public_key());
    }
    Ok(out)
}

/// An authentication structure from its parts, ID key's first and author key's second: algorithm,
/// signature (r and s of 72 bytes), key (curve; x and y of 72 bytes).
pub(crate) fn assemble(
    algorithms: (u32, u32),
    signatures: (&[u8], &[u8]),
    keys: ([&[u8]; 2], [&[u8]; 2]),
) -> [u8; ID_AUTH_SIZE] {
    let mut out = [0; ID_AUTH_SIZE];
    put(&mut out, 0, &algorithms.0.to_le_bytes());
    put(&mut out, 4, &algorithms.1.to_le_bytes());
    put(&mut out, BLOCK_SIGNATURE, signatures.0);
    put(&mut out, ID_KEY, &keys.0.concat());
    put(&mut out, KEY_SIGNATURE, signatures.1);
    put(&mut out, AUTHOR_KEY, &keys.1.concat());
    out
}

/// The digests of the keys of a good authentication structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyDigests {
    /// Digest of the ID key.
    pub id_key: Digest384,
    /// Digest of the author key, when there is one.
    pub author_key: Option<Digest384>,
}

/// Checks an authentication structure against its ID block, as the firmware does.
///
/// # Errors
/// [`IdError`] naming the structure that does not hold.
pub fn check(block: &[u8], auth: &[u8], author_enabled: bool) -> Result<KeyDigests, IdError> {
    // The structure first, then the block's signature, then the ID key's: of several faults the
    // first in this order is told.
    IdBlock::parse(block)?;
    let auth: &[u8; ID_AUTH_SIZE] = auth
        .try_into()
        .map_err(|_| IdError::Length { what: "an ID authentication", expected: ID_AUTH_SIZE })?;
    if let Some(offset) = first_reserved(auth) {
        return Err(IdError::Reserved(offset));
    }
    let id_key: [u8; PUBLIC_KEY_SIZE] = at(auth, ID_KEY);
    if u32::from_le_bytes(at(auth, 0)) != ALGORITHM_P384 {
        return Err(IdError::Algorithm("ID key algorithm"));
    }
    verify(&id_key, block, &at(auth, BLOCK_SIGNATURE), "the signature of the ID block")?;
    // Whether there is an author key is said by the launch command, not by the structure. One that
    // lies there without the flag is neither checked nor put into a report.
    let author_key = if author_enabled {
        if u32::from_le_bytes(at(auth, 4)) != ALGORITHM_P384 {
            return Err(IdError::Algorithm("author key algorithm"));
        }
        let author: [u8; PUBLIC_KEY_SIZE] = at(auth, AUTHOR_KEY);
        verify(&author, &id_key, &at(auth, KEY_SIGNATURE), "the signature of the ID key")?;
        Some(sha384(&author))
    } else {
        None
    };
    Ok(KeyDigests { id_key: sha384(&id_key), author_key })
}

fn first_reserved(auth: &[u8; ID_AUTH_SIZE]) -> Option<usize> {
    // Between the algorithms and the signature, behind the ID key and behind the author key, to the
    // end of the page.
    [0x08..0x40, 0x644..0x680, 0xC84..0x1000]
        .into_iter()
        .flatten()
        .find(|offset| auth.get(*offset).is_some_and(|byte| *byte != 0))
}

fn verify(
    key: &[u8; PUBLIC_KEY_SIZE],
    message: &[u8],
    signature: &[u8; 512],
    what: &'static str,
) -> Result<(), IdError> {
    if u32::from_le_bytes(at(key, 0)) != CURVE_P384 {
        return Err(IdError::Algorithm("public key curve"));
    }
    // Numbers are little-endian in 72 bytes, of which P-384 needs 48. What is above, and what is
    // behind both numbers, has to be zero: two structures that differ there would be one signature
    // with two digests.
    let low: [[u8; 72]; 4] = [at(key, 4), at(key, 76), at(signature, 0), at(signature, 72)];
    let overlong = low.iter().any(|n| n.iter().skip(48).any(|byte| *byte != 0));
    let rest = key.iter().skip(148).chain(signature.iter().skip(144));
    if overlong || rest.into_iter().any(|byte| *byte != 0) {
        return Err(IdError::Signature(what));
    }
    let [x, y, r, s] = low.map(|number| reversed(number.get(..48).unwrap_or_default()));
    // From the firmware's form to SEC1's: tag 4, big-endian coordinates.
    let point = [&[4][..], &x, &y].concat();
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
        .verify(message, &[r, s].concat())
        .map_err(|_| IdError::Signature(what))
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// The `N` bytes at a constant offset inside `bytes`.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    offset
        .checked_add(N)
        .and_then(|end| bytes.get(offset..end))
        .and_then(|found| found.try_into().ok())
        .unwrap_or([0; N])
}

/// Writes at a constant offset inside `out`.
fn put(out: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(to) = offset.checked_add(bytes.len()).and_then(|end| out.get_mut(offset..end)) {
        to.copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{IdBlock, IdError, OwnerKey, authenticate, check};

    fn key() -> OwnerKey {
        OwnerKey::generate().unwrap()
    }

    fn block() -> IdBlock {
        IdBlock {
            launch_digest: [7; 48],
            family_id: [1; 16],
            image_id: [2; 16],
            guest_svn: 3,
            policy: 0x30000,
        }
    }

    #[test]
    fn what_is_signed_checks_and_what_is_altered_does_not() {
        let (id, author) = (key(), key());
        let auth = authenticate(&block(), &id, Some(&author)).unwrap();
        let digests = check(&block().to_bytes(), &auth, true).unwrap();
        assert_eq!(digests.id_key, id.digest());
        assert_eq!(digests.author_key, Some(author.digest()));
        let mut other = block();
        other.guest_svn = 4;
        assert_eq!(
            check(&other.to_bytes(), &auth, true),
            Err(IdError::Signature("the signature of the ID block"))
        );
        for offset in
            [0, 4, 0x40, 0x40 + 60, 0x240, 0x240 + 10, 0x680, 0x880 + 20, 0x900, 0x9, 0xfff]
        {
            let mut altered = auth;
            altered[offset] ^= 1;
            assert!(check(&block().to_bytes(), &altered, true).is_err(), "{offset:#x}");
        }
    }

    #[test]
    fn an_author_key_is_checked_only_when_it_is_enabled() {
        let auth = authenticate(&block(), &key(), None).unwrap();
        assert_eq!(check(&block().to_bytes(), &auth, false).unwrap().author_key, None);
        assert!(check(&block().to_bytes(), &auth, true).is_err());
    }

    #[test]
    fn an_id_block_keeps_its_fields() {
        assert_eq!(IdBlock::parse(&block().to_bytes()).unwrap(), block());
        let mut bytes = block().to_bytes();
        bytes[80] = 2;
        assert_eq!(IdBlock::parse(&bytes), Err(IdError::Version(2)));
        assert!(IdBlock::parse(&bytes[1..]).is_err());
    }
}
