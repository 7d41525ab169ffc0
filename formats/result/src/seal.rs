//! The sealed part, written: a stanza for each owner, then pieces.

use crate::{Aead, Hash, Kdf, Kem, NONCE, PublicKey, ResultError, info};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use hpke::rand_core::UnwrapErr;
use hpke::{OpModeS, Serializable};
use sha2::{Digest, Sha256};
use std::io::Write;
use zeroize::Zeroizing;

/// Owners of one result, at most.
pub const MAX_RECIPIENTS: usize = 16;
/// Bytes of a piece before it is sealed.
pub(crate) const PIECE: usize = 64 * 1024;
/// Bytes of an authentication tag.
pub(crate) const TAG: usize = 16;
/// A key for ChaCha20-Poly1305.
pub(crate) const KEY: usize = 32;

/// A stanza: the owner's key, HPKE's encapsulated key, the sealed key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stanza {
    recipient: PublicKey,
    enc: [u8; 32],
    wrapped: [u8; KEY + TAG],
}

/// Seals a key to an owner.
fn wrap_key(to: &PublicKey, key: &[u8; KEY], info: &[u8]) -> Result<Stanza, ResultError> {
    let refused = ResultError::Value("a recipient's key is none");
    // Linux' random numbers fail before the first ones and never again, and whoever seals has taken
    // the key from there before.
    let mut random = UnwrapErr(getrandom::SysRng);
    let sealed = hpke::single_shot_seal_with_rng::<Aead, Kdf, Kem>(
        &OpModeS::Base,
        &to.point()?,
        info,
        key,
        &[],
        &mut random,
    );
    let Ok((enc, wrapped)) = sealed else { return Err(refused) };
    let wrapped = wrapped.try_into().map_err(|_| refused)?;
    Ok(Stanza { recipient: *to, enc: enc.to_bytes().into(), wrapped })
}

/// The nonce of a piece: its number, and whether it is the last.
pub(crate) fn nonce(piece: u64, last: bool) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = piece.to_be_bytes();
    [0, 0, 0, a, b, c, d, e, f, g, h, u8::from(last)]
}

/// What was written of a sealed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// How many bytes.
    pub len: u64,
    /// Their SHA-256.
    pub sha256: Hash,
}

/// Seals what is written to it.
pub struct Sealer<W> {
    to: Hashed<W>,
    cipher: ChaCha20Poly1305,
    piece: u64,
    buffer: Zeroizing<Vec<u8>>,
    /// Files and folders so far.
    pub(crate) entries: u64,
}

impl<W> std::fmt::Debug for Sealer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("piece", &self.piece).finish_non_exhaustive()
    }
}

impl<W: Write> Sealer<W> {
    /// Begins a sealed part for these owners, of this run with these inputs.
    ///
    /// # Errors
    /// [`ResultError`], also where `to` cannot be written.
    pub fn new(
        to: W,
        recipients: &[PublicKey],
        run: &[u8; NONCE],
        inputs: &Hash,
    ) -> Result<Self, ResultError> {
        let count = u8::try_from(recipients.len()).ok();
        let count = count.filter(|n| (1..=MAX_RECIPIENTS).contains(&usize::from(*n)));
        let count = count.ok_or(ResultError::Value("a result has 1 to 16 recipients"))?;
        let mut key = Zeroizing::new([0; KEY]);
        getrandom::fill(key.as_mut_slice()).map_err(|_| ResultError::Random)?;
        let mut to = Hashed { to, hash: Sha256::new(), len: 0 };
        to.put(&[count])?;
        let info = info(run, inputs);
        for recipient in recipients {
            let Stanza { recipient, enc, wrapped } = wrap_key(recipient, &key, &info)?;
            to.put(recipient.bytes())?;
            to.put(&enc)?;
            to.put(&wrapped)?;
        }
        let cipher = ChaCha20Poly1305::new((&*key).into());
        let buffer = Zeroizing::new(Vec::with_capacity(PIECE));
        Ok(Self { to, cipher, piece: 0, buffer, entries: 0 })
    }

    /// Seals these bytes.
    ///
    /// # Errors
    /// Where the stream below cannot be written.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<(), ResultError> {
        while !bytes.is_empty() {
            // A full piece is kept until more comes: only then it is not the last.
            if self.buffer.len() == PIECE {
                self.flush(false)?;
            }
            let room = PIECE.saturating_sub(self.buffer.len()).min(bytes.len());
            let (now, rest) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            self.buffer.extend_from_slice(now);
            bytes = rest;
        }
        Ok(())
    }

    /// Ends the sealed part; what is below comes back.
    ///
    /// # Errors
    /// As [`Sealer::put`].
    pub fn finish(mut self) -> Result<(W, Sealed), ResultError> {
        self.flush(true)?;
        let Hashed { to, hash, len } = self.to;
        Ok((to, Sealed { len, sha256: hash.finalize().into() }))
    }

    fn flush(&mut self, last: bool) -> Result<(), ResultError> {
        let nonce = nonce(self.piece, last).into();
        let buffer = self.buffer.as_mut_slice();
        let tag = self.cipher.encrypt_inout_detached(&nonce, &[], buffer.into());
        let tag = tag.map_err(|_| ResultError::Value("a piece is too long"))?;
        self.to.put(&self.buffer)?;
        self.to.put(tag.as_slice())?;
        self.buffer.clear();
        self.piece = self.piece.checked_add(1).ok_or(ResultError::Value("too many pieces"))?;
        Ok(())
    }
}

struct Hashed<W> {
    to: W,
    hash: Sha256,
    len: u64,
}

impl<W: Write> Hashed<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ResultError> {
        self.to.write_all(bytes)?;
        self.hash.update(bytes);
        self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}
