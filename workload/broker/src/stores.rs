//! What the broker asks of those who keep something.

use casemate_attestation::evidence::Evidence;
use casemate_attestation::record::Inputs;
use casemate_attestation::selection;
use casemate_attestation::store::{Snapshot, Source, Store};
use casemate_kbs::Resource;
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

/// Why a store gives no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It has too much to do; after so many seconds one may ask again.
    #[error("busy: ask again in {0} s")]
    Busy(u64),
    /// It failed. The reason is for the broker's own log, and is not told to who asked.
    #[error("{0}")]
    Failed(String),
}

/// Random numbers.
pub trait Entropy {
    /// Fills `to` with bytes that nobody can guess.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn fill(&self, to: &mut [u8]) -> Result<(), Unavailable>;
}

impl Entropy for SystemRandom {
    fn fill(&self, to: &mut [u8]) -> Result<(), Unavailable> {
        let failed = |_| Unavailable::Failed("the system gives no random numbers".into());
        SecureRandom::fill(self, to).map_err(failed)
    }
}

/// Certificates and revocation lists. Guests on Linux 6.12 send none of their own.
pub trait Certificates {
    /// Puts evidence into `inputs`, and beside it the certificate of the key that signed it, the
    /// CA certificates and the lists, as far as they are at hand. None of them is trusted for being
    /// found here: the verification that follows says which hold.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable>;
}

impl Certificates for Store {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        complete_from(self, inputs, evidence)
    }
}

impl Certificates for Snapshot {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        complete_from(self, inputs, evidence)
    }
}

fn complete_from(
    source: &dyn Source,
    inputs: &mut Inputs,
    evidence: &Evidence,
) -> Result<(), Unavailable> {
    selection::complete(inputs, &[], evidence, Some(source))
        .map_err(|error| Unavailable::Failed(error.to_string()))
}

/// Who asks, to the store: the thumbprint (RFC 7638, SHA-256) of the key that was attested. A guest
/// that attests the same key again, because an answer was lost, is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub [u8; 32]);

/// A release that the policy has admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided<'a> {
    /// The secret.
    pub resource: &'a Resource,
    /// The grant that admits it, as the policy writes it (`acme/db/*`): what uses are counted of.
    pub grant: &'a str,
    /// Who gets it.
    pub session: SessionId,
    /// The number of uses that was decided on: what [`Secrets::uses`] had said.
    /// If it would be another number now, nothing is counted.
    pub uses: u64,
    /// The clock, in seconds since 1970.
    pub now: u64,
    /// When the session ends; nobody needs to remember it longer.
    pub until: u64,
}

/// What became of a decided release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The use is counted, durably, and this is the secret.
    Secret {
        /// Its bytes.
        secret: Zeroizing<Vec<u8>>,
        /// Its version, from 1.
        version: u64,
    },
    /// There is no such secret, or no version of it for new sessions; nothing was counted.
    NotThere,
    /// Meanwhile the number of uses is another one; nothing was counted. It is decided anew.
    Moved,
}

/// Secrets, and how often they were given out. Requests here are decided ones: a store asks nobody.
pub trait Secrets {
    /// The uses of a grant so far, this session's included: one more than were counted, or as many
    /// when this session is among them. Nothing is counted by asking.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn uses(&self, grant: &str, session: SessionId, now: u64) -> Result<u64, Unavailable>;

    /// Counts a use and gives the secret, in one transaction that is durable before it returns. A
    /// session counts once for each grant, however often it asks; a secret that is not there costs
    /// no use.
    ///
    /// # Errors
    /// [`Unavailable`]; then no secret was given. Whether the use was counted may be open; asking
    /// again counts no second one.
    fn take(&self, decided: &Decided<'_>) -> Result<Taken, Unavailable>;
}

/// All of them.
#[derive(Clone, Copy)]
pub struct Stores<'a> {
    /// Certificates and lists.
    pub certificates: &'a dyn Certificates,
    /// Secrets and counts.
    pub secrets: &'a dyn Secrets,
    /// Random numbers.
    pub entropy: &'a dyn Entropy,
}

impl std::fmt::Debug for Stores<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stores")
    }
}
