//! A secret sealed to a guest's key: JSON Web Encryption (RFC 7516), flattened, with
//! `ECDH-ES+A256KW` (RFC 7518, section 4.6) and `A256GCM`.
//!
//! Nobody signs it, and nothing in it says which resource it is: only the connection to an
//! authenticated broker binds an answer to its question.

use crate::key::{ALG, Point};
use crate::read::{self, malformed};
use crate::{KbsError, SessionKey, TeePubKey, What};
use aes_kw::KekAes256;
use base64ct::{Base64UrlUnpadded, Encoding};
use p256::SecretKey;
use p256::ecdh::diffie_hellman;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Longest secret, in bytes.
pub const MAX_SECRET: usize = 1024 * 1024;
/// Longest sealed resource that is read: its text is four thirds of it, and some members.
const MAX_SEALED: usize = MAX_SECRET / 3 * 4 + 4096;
/// The wrapped key: 32 bytes and the check value of RFC 3394.
const WRAPPED: usize = 40;
const TAG: usize = 16;
const ENC: &str = "A256GCM";

/// A sealed resource, as it travels: base64url without padding in every member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    protected: String,
    encrypted_key: String,
    iv: String,
    ciphertext: String,
    tag: String,
}

/// What is in `protected`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    enc: String,
    epk: Point,
}

/// What a sealed resource is made with, fresh for each: wiped when it is dropped.
pub struct Draws {
    ephemeral: SecretKey,
    cek: Zeroizing<[u8; 32]>,
    iv: [u8; 12],
}

impl std::fmt::Debug for Draws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Draws")
    }
}

impl Draws {
    /// What is sealed with these 76 random bytes: 32 of a key on P-256, 32 of a key for the secret,
    /// 12 of an initialisation vector. None when the first 32 are no such key, which one in 2^32
    /// is: draw again.
    #[must_use]
    pub fn new(random: &[u8; 76]) -> Option<Self> {
        let (ephemeral, rest) = random.split_first_chunk::<32>()?;
        let (cek, iv) = rest.split_first_chunk::<32>()?;
        let ephemeral = SecretKey::from_slice(ephemeral).ok()?;
        Some(Self { ephemeral, cek: Zeroizing::new(*cek), iv: *iv.first_chunk()? })
    }
}

/// Why a sealed resource cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Not of the protocol.
    #[error(transparent)]
    Format(#[from] KbsError),
    /// Sealed to another key, or altered.
    #[error("the resource is sealed to another key, or was altered")]
    NotOurs,
}

impl Sealed {
    /// Seals a secret to a guest's key; none when the secret is longer than [`MAX_SECRET`].
    #[must_use]
    pub fn new(to: &TeePubKey, secret: &[u8], draws: &Draws) -> Option<Self> {
        if secret.len() > MAX_SECRET {
            return None;
        }
        let epk = SessionKey(draws.ephemeral.clone()).public();
        // The real client does not keep this text: it parses it and writes it again, `alg`, `enc`,
        // then the rest with sorted names and without blanks, and authenticates that. Any other
        // spelling of the same header would be a resource that it cannot open.
        let (x, y) = (&epk.x, &epk.y);
        let header = format!(
            "{{\"alg\":\"{ALG}\",\"enc\":\"{ENC}\",\
             \"epk\":{{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"{x}\",\"y\":\"{y}\"}}}}"
        );
        let text = Base64UrlUnpadded::encode_string;
        let protected = text(header.as_bytes());
        let mut wrapped = [0; WRAPPED];
        key_wrap(&draws.ephemeral, to).wrap(draws.cek.as_ref(), &mut wrapped).ok()?;
        let mut ciphertext = secret.to_vec();
        let nonce = Nonce::assume_unique_for_key(draws.iv);
        let tag = content_key(&draws.cek)?
            .seal_in_place_separate_tag(nonce, Aad::from(protected.as_bytes()), &mut ciphertext)
            .ok()?;
        Some(Self {
            encrypted_key: text(&wrapped),
            iv: text(&draws.iv),
            ciphertext: text(&ciphertext),
            tag: text(tag.as_ref()),
            protected,
        })
    }

    /// Reads a sealed resource.
    ///
    /// # Errors
    /// [`KbsError`].
    pub fn read(body: &[u8]) -> Result<Self, KbsError> {
        read::json(What::Sealed, body, MAX_SEALED)
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> String {
        let Self { protected, encrypted_key, iv, ciphertext, tag } = self;
        // Base64url has nothing that JSON escapes.
        format!(
            "{{\"protected\":\"{protected}\",\"encrypted_key\":\"{encrypted_key}\",\
             \"iv\":\"{iv}\",\"ciphertext\":\"{ciphertext}\",\"tag\":\"{tag}\"}}"
        )
    }

    /// Opens it with the key that it is sealed to.
    ///
    /// # Errors
    /// [`OpenError`]: not of the protocol; another key's, or altered, which look alike.
    pub fn open(&self, key: &SessionKey) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let what = What::Sealed;
        let header = decode(&self.protected, "`protected` that is not base64url")?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|error| malformed(what, &error))?;
        // No negotiation: parameters that change how keys are derived (`apu`, `apv`) are unknown
        // members, and refused as such.
        if header.alg != ALG || header.enc != ENC {
            let why = "not sealed with ECDH-ES+A256KW and A256GCM";
            return Err(KbsError::value(what, why).into());
        }
        let epk = header.epk.open()?;
        let wrapped = fixed::<WRAPPED>(&self.encrypted_key, "encrypted_key is not 40 bytes")?;
        let iv = fixed::<12>(&self.iv, "iv is not 12 bytes")?;
        let tag = fixed::<TAG>(&self.tag, "tag is not 16 bytes")?;
        let mut text = decode(&self.ciphertext, "ciphertext that is not base64url")?;
        text.extend_from_slice(&tag);
        let mut text = Zeroizing::new(text);
        let mut cek = Zeroizing::new([0; 32]);
        key_wrap(&key.0, &epk).unwrap(&wrapped, cek.as_mut()).map_err(|_| OpenError::NotOurs)?;
        let content = content_key(&cek).ok_or(OpenError::NotOurs)?;
        // Over the text of `protected` as it came (RFC 7516, section 5.2, step 14): so a header of
        // any spelling opens.
        let aad = Aad::from(self.protected.as_bytes());
        let length = content
            .open_in_place(Nonce::assume_unique_for_key(iv), aad, &mut text)
            .map_err(|_| OpenError::NotOurs)?
            .len();
        text.truncate(length);
        Ok(text)
    }
}

/// The key that wraps the content's key: Concat KDF (RFC 7518, section 4.6.2) of the secret that
/// both sides' keys make.
fn key_wrap(ours: &SecretKey, theirs: &TeePubKey) -> KekAes256 {
    let shared = diffie_hellman(ours.to_nonzero_scalar(), theirs.point().as_affine());
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut hash = Context::new(&SHA256);
    // One round of the hash gives all 256 bits. No PartyUInfo and PartyVInfo: lengths of zero.
    hash.update(&1u32.to_be_bytes());
    hash.update(shared.raw_secret_bytes().as_slice());
    hash.update(&length(ALG.len()));
    hash.update(ALG.as_bytes());
    hash.update(&length(0));
    hash.update(&length(0));
    hash.update(&256u32.to_be_bytes());
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(hash.finish().as_ref());
    KekAes256::from(*key)
}

fn content_key(key: &[u8; 32]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new)
}

fn decode(text: &str, wrong: &'static str) -> Result<Vec<u8>, KbsError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| KbsError::value(What::Sealed, wrong))
}

fn fixed<const N: usize>(text: &str, wrong: &'static str) -> Result<[u8; N], KbsError> {
    decode(text, wrong)?.try_into().map_err(|_| KbsError::value(What::Sealed, wrong))
}
