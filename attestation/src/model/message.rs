//! Guest messages: the encrypted channel between a guest and the firmware.
//!
//! Source: SEV-SNP firmware ABI (AMD 56860), table of MESSAGE_HEADER; Linux `struct
//! snp_guest_msg_hdr`.

use super::Status;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// Bytes of a message page.
pub const MESSAGE_SIZE: usize = 4096;
const HEADER_SIZE: usize = 0x60;
const MAX_PAYLOAD: usize = MESSAGE_SIZE - HEADER_SIZE;
/// Bytes of the authentication tag in use, of the 32 that the header has for it.
const TAG: usize = 16;
/// AEAD algorithm: AES-256-GCM.
const ALGORITHM: u8 = 1;
const HEADER_VERSION: u8 = 1;
/// What the tag covers beside the payload: the header from its algorithm on.
const AAD_START: usize = 0x30;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as the firmware names them")]
#[repr(u8)]
pub enum MessageType {
    CpuidRequest = 1,
    CpuidResponse = 2,
    KeyRequest = 3,
    KeyResponse = 4,
    ReportRequest = 5,
    ReportResponse = 6,
}

impl MessageType {
    const fn from_raw(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::CpuidRequest,
            2 => Self::CpuidResponse,
            3 => Self::KeyRequest,
            4 => Self::KeyResponse,
            5 => Self::ReportRequest,
            6 => Self::ReportResponse,
            _ => return None,
        })
    }
}

/// The header of a message, plaintext but authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Sequence number, part of the nonce.
    pub sequence: u64,
    /// What the payload is.
    pub kind: MessageType,
    /// Version of the payload.
    pub version: u8,
    /// Bytes of the payload, at most 4000.
    pub size: u16,
    /// Which of the guest's four keys, 0 to 3.
    pub vmpck: u8,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// [`Status::InvalidParam`] for anything undefined.
    pub fn read(page: &[u8; MESSAGE_SIZE]) -> Result<Self, Status> {
        let byte = |offset: usize| page.get(offset).copied().unwrap_or(0);
        let word = |offset: usize| u16::from_le_bytes([byte(offset), byte(offset + 1)]);
        let size = word(0x36);
        // Everything that the format reserves has to be zero: a field that a later format gives a
        // meaning to is not overlooked.
        let reserved = [0x10..0x20, 0x28..0x30, 0x38..0x3C, 0x3D..HEADER_SIZE];
        let sound = byte(0x30) == ALGORITHM
            && byte(0x31) == HEADER_VERSION
            && usize::from(word(0x32)) == HEADER_SIZE
            && usize::from(size) <= MAX_PAYLOAD
            && byte(0x3C) < 4
            && reserved.into_iter().flatten().all(|offset| byte(offset) == 0);
        let kind = MessageType::from_raw(byte(0x34)).ok_or(Status::InvalidParam)?;
        if !sound {
            return Err(Status::InvalidParam);
        }
        let sequence = page.get(0x20..0x28).and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            sequence: u64::from_le_bytes(sequence.unwrap_or([0; 8])),
            kind,
            version: byte(0x35),
            size,
            vmpck: byte(0x3C),
        })
    }

    fn write(&self, page: &mut [u8; MESSAGE_SIZE]) {
        let [size_low, size_high] = self.size.to_le_bytes();
        let header_size = HEADER_SIZE.to_le_bytes()[0];
        put(page, 0x20, &self.sequence.to_le_bytes());
        put(page, 0x30, &[ALGORITHM, HEADER_VERSION, header_size, 0]);
        put(page, 0x34, &[self.kind as u8, self.version, size_low, size_high]);
        put(page, 0x3C, &[self.vmpck]);
    }
}

/// Encrypts a message into a page. The header's size is taken from `payload`.
///
/// # Errors
/// [`Status::InvalidParam`] when the payload does not fit a page.
pub fn seal(
    mut header: Header,
    key: &[u8; 32],
    payload: &[u8],
) -> Result<[u8; MESSAGE_SIZE], Status> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Status::InvalidParam);
    }
    header.size = u16::try_from(payload.len()).map_err(|_| Status::InvalidParam)?;
    // The tag covers the header from its algorithm on, so the header is written before it is
    // computed; the sequence number is covered as the nonce.
    let mut page = [0; MESSAGE_SIZE];
    header.write(&mut page);
    let mut body = payload.to_vec();
    let aad = Aad::from(page.get(AAD_START..HEADER_SIZE).unwrap_or_default().to_vec());
    let tag = cipher(key)?
        .seal_in_place_separate_tag(nonce(header.sequence), aad, &mut body)
        .map_err(|_| Status::InvalidParam)?;
    put(&mut page, 0, tag.as_ref());
    put(&mut page, HEADER_SIZE, &body);
    Ok(page)
}

/// Decrypts a message, and returns its header as authenticated.
pub fn open(page: &[u8; MESSAGE_SIZE], key: &[u8; 32]) -> Result<(Header, Vec<u8>), Status> {
    let header = Header::read(page)?;
    let end = HEADER_SIZE.saturating_add(usize::from(header.size));
    let mut body = page.get(HEADER_SIZE..end).unwrap_or_default().to_vec();
    // `ring` wants the tag behind the ciphertext, where the page has it in front.
    body.extend(page.get(..TAG).unwrap_or_default());
    let aad = Aad::from(page.get(AAD_START..HEADER_SIZE).unwrap_or_default());
    let length = cipher(key)?
        .open_in_place(nonce(header.sequence), aad, &mut body)
        .map_err(|_| Status::BadMeasurement)?
        .len();
    body.truncate(length);
    Ok((header, body))
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, Status> {
    UnboundKey::new(&AES_256_GCM, key).map(LessSafeKey::new).map_err(|_| Status::InvalidKey)
}

fn nonce(sequence: u64) -> Nonce {
    // The sequence number in the low 8 bytes of 12, zeros above. It is unique under a key because
    // request and answer each take a new one.
    let [a, b, c, d, e, f, g, h] = sequence.to_le_bytes();
    Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, 0, 0, 0, 0])
}

/// Writes inside a page, at offsets that are checked before.
pub(super) fn put(page: &mut [u8], offset: usize, bytes: &[u8]) {
    if let Some(to) = offset.checked_add(bytes.len()).and_then(|end| page.get_mut(offset..end)) {
        to.copy_from_slice(bytes);
    }
}
