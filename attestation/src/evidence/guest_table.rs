//! The certificate table that a host hands to its guests, with the limits that guests have.

use super::CertTable;

/// Largest table: what Linux guests have room for (`SEV_FW_BLOB_MAX_SIZE`).
pub const MAX_GUEST_TABLE: usize = 0x4000;

/// A certificate table as guests expect it: entries in bounds, none over another, with an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCertTable(Vec<u8>);

/// Why bytes are no certificate table for a guest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuestTableError {
    /// An empty file; guests would be told that there is a table.
    #[error("the file is empty")]
    Empty,
    /// More bytes than guests have room for.
    #[error("{0} bytes are more than the {MAX_GUEST_TABLE} that guests have room for")]
    TooLarge(usize),
    /// An entry, or the list of them, breaks a rule; the text says which.
    #[error("{0}")]
    Entry(String),
}

impl GuestCertTable {
    /// Checks a table: GUID, offset and length of each entry, a zero GUID, contents (AMD 56421,
    /// extended guest request).
    ///
    /// # Errors
    /// [`GuestTableError`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, GuestTableError> {
        match bytes.len() {
            // The guest's limit comes before the verifier's, which is four times as much.
            0 => Err(GuestTableError::Empty),
            size if size > MAX_GUEST_TABLE => Err(GuestTableError::TooLarge(size)),
            _ => match CertTable::parse(&bytes) {
                Ok(_) => Ok(Self(bytes)),
                Err(e) => Err(GuestTableError::Entry(e.to_string())),
            },
        }
    }

    /// The table as it is handed to guests.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
