//! The sealed part, read: each piece is given out when it is proven to be the one that was sealed
//! there, and the end is one only where the sealer had it.

use crate::error::{unwrap, wrap};
use crate::seal::{KEY, PIECE, TAG, nonce};
use crate::wire::{bytes, exactly};
use crate::{Aead, Cover, Hash, Kdf, Kem, MAX_RECIPIENTS, PublicKey, ResultError, SecretKey, info};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use hpke::{Deserializable, OpModeR};
use sha2::{Digest, Sha256};
use std::io::Read;
use zeroize::Zeroizing;

/// Gives what was sealed.
pub struct Opener<R> {
    from: Hashed<R>,
    cipher: ChaCha20Poly1305,
    piece: u64,
    left: u64,
    buffer: Zeroizing<Vec<u8>>,
    /// Of the buffer, what was given out.
    given: usize,
    last: bool,
}

impl<R> std::fmt::Debug for Opener<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("piece", &self.piece).finish_non_exhaustive()
    }
}

impl<R: Read> Opener<R> {
    /// Begins with the sealed part of a result that has this cover.
    ///
    /// # Errors
    /// [`ResultError::OtherKey`] and what is wrong with the part.
    pub fn new(from: R, cover: &Cover, key: &SecretKey) -> Result<Self, ResultError> {
        const OF: &str = "its recipients";
        let mut from = Hashed { from, hash: Sha256::new() };
        let [count] = bytes::<1>(&mut from, OF)?;
        if !(1..=MAX_RECIPIENTS).contains(&usize::from(count)) {
            return Err(ResultError::Value("a result has 1 to 16 recipients"));
        }
        let own = key.public()?;
        let info = info(&cover.nonce, &cover.inputs);
        let mut found = None;
        for _ in 0..count {
            let recipient = PublicKey::of(bytes(&mut from, OF)?);
            let (enc, wrapped) = (bytes(&mut from, OF)?, bytes(&mut from, OF)?);
            if recipient == own && found.is_none() {
                found = Some(unwrap_key(key, &enc, &wrapped, &info)?);
            }
        }
        let head = u64::from(count).saturating_mul(32 + 32 + (KEY + TAG) as u64).saturating_add(1);
        let left = cover.sealed.checked_sub(head).ok_or(ResultError::CutOff(OF))?;
        let key = found.ok_or(ResultError::OtherKey)?;
        let cipher = ChaCha20Poly1305::new((&*key).into());
        let buffer = Zeroizing::new(Vec::with_capacity(PIECE + TAG));
        Ok(Self { from, cipher, piece: 0, left, buffer, given: 0, last: false })
    }

    /// The SHA-256 of all that was read, behind the end.
    ///
    /// # Errors
    /// [`ResultError::Longer`] before it.
    pub fn finish(self) -> Result<Hash, ResultError> {
        if !self.last || self.given < self.buffer.len() {
            return Err(ResultError::Longer);
        }
        Ok(self.from.hash.finalize().into())
    }

    /// Takes the next piece; false behind the last one.
    fn next_piece(&mut self) -> Result<bool, ResultError> {
        if self.last {
            return Ok(false);
        }
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE + TAG);
        let plain = want.checked_sub(TAG).ok_or(ResultError::CutOff("its sealed part"))?;
        // None but the only one is empty: else there were two ways to end.
        if plain == 0 && self.piece > 0 {
            return Err(ResultError::Changed);
        }
        self.buffer.clear();
        self.buffer.resize(plain, 0);
        exactly(&mut self.from, &mut self.buffer, "its sealed part")?;
        let tag: [u8; TAG] = bytes(&mut self.from, "its sealed part")?;
        self.left = self.left.saturating_sub(u64::try_from(want).unwrap_or(u64::MAX));
        self.last = self.left == 0;
        let nonce = nonce(self.piece, self.last).into();
        let buffer = self.buffer.as_mut_slice();
        let opened = self.cipher.decrypt_inout_detached(&nonce, &[], buffer.into(), &tag.into());
        if opened.is_err() {
            // What a failed piece left is nobody's.
            self.buffer.clear();
            return Err(ResultError::Changed);
        }
        self.piece = self.piece.saturating_add(1);
        self.given = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        while self.given >= self.buffer.len() {
            if !self.next_piece().map_err(wrap)? {
                return Ok(0);
            }
        }
        let rest = self.buffer.get(self.given..).unwrap_or_default();
        let now = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..now), rest.get(..now)) {
            to.copy_from_slice(from);
        }
        self.given = self.given.saturating_add(now);
        Ok(now)
    }
}

fn unwrap_key(
    key: &SecretKey,
    enc: &[u8; 32],
    wrapped: &[u8; KEY + TAG],
    info: &[u8],
) -> Result<Zeroizing<[u8; KEY]>, ResultError> {
    let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(enc).map_err(|_| ResultError::Changed)?;
    let scalar = key.scalar()?;
    let opened =
        hpke::single_shot_open::<Aead, Kdf, Kem>(&OpModeR::Base, &scalar, &enc, info, wrapped, &[]);
    let opened = Zeroizing::new(opened.map_err(|_| ResultError::Changed)?);
    let mut key = Zeroizing::new([0; KEY]);
    if opened.len() != KEY {
        return Err(ResultError::Changed);
    }
    key.copy_from_slice(&opened);
    Ok(key)
}

struct Hashed<R> {
    from: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let got = self.from.read(into).map_err(|e| wrap(unwrap(e)))?;
        self.hash.update(into.get(..got).unwrap_or_default());
        Ok(got)
    }
}
