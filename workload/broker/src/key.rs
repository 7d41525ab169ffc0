//! The broker's own key: what challenges and sessions are authenticated by.

use ring::hmac::{HMAC_SHA256, Key, sign};

/// 32 secret bytes, and what follows from them. Brokers with the same bytes know each other's
/// challenges and sessions; with other bytes all of them end.
///
/// For each purpose a key of its own, so that no text made for one passes for another.
#[derive(Clone)]
pub struct BrokerKey {
    pub(crate) challenges: Key,
    pub(crate) nonces: Key,
    pub(crate) sessions: Key,
}

impl std::fmt::Debug for BrokerKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BrokerKey")
    }
}

impl BrokerKey {
    /// The key of these bytes, which have to be random.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        let root = Key::new(HMAC_SHA256, secret);
        let of = |purpose: &str| Key::new(HMAC_SHA256, sign(&root, purpose.as_bytes()).as_ref());
        Self {
            challenges: of("casemate broker challenge v1"),
            nonces: of("casemate broker nonce v1"),
            sessions: of("casemate broker session v1"),
        }
    }
}
