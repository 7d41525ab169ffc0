//! The transactions of a broker's store, and what they are asked with.

use crate::counter::Counter;
use crate::{Secret, StoreError};

/// Which version of a secret is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The highest version that is not revoked.
    Newest,
    /// This one, or none.
    Version(u32),
}

/// A secret with the version that it is.
#[derive(Debug)]
pub struct Got {
    /// From 1, in the order in which they were put.
    pub version: u32,
    /// The bytes.
    pub secret: Secret,
}

/// What is known of one version without its secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionInfo {
    /// From 1.
    pub version: u32,
    /// When it was put, in seconds since 1970, by the clock of who put it.
    pub at: u64,
    /// Length of the secret in bytes; zero when it is revoked.
    pub bytes: usize,
    /// Whether it is gone for good.
    pub revoked: bool,
}

/// One name with all its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The resource path, `repository/type/tag`.
    pub name: String,
    /// From version 1 on, without gaps.
    pub versions: Vec<VersionInfo>,
}

/// A use of a grant that is to be counted.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// Which grant, by the pattern of its resources.
    pub grant: &'a str,
    /// The attested session: the SHA-256 of its key.
    pub session: [u8; 32],
    /// The greatest number of a use that the policy admits.
    pub most: u64,
    /// The clock, in seconds since 1970.
    pub now: u64,
    /// When the session ends. Later the same key counts as another session.
    pub until: u64,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Counted now: the how manieth use of the grant it is.
    Counted(u64),
    /// This session had taken its use before, and takes no other.
    Again,
}

/// A store of secrets, uses and counters. Each call is one transaction, done when it returns: an
/// answer is only given when what it rests on cannot be lost any more.
///
/// Of calls at once each sees the others before or after it, never between.
pub trait Store: Send + Sync {
    /// A version of a secret.
    ///
    /// # Errors
    /// [`StoreError::NoSecret`], [`StoreError::NoVersion`], [`StoreError::Revoked`]; else what is
    /// wrong with the store.
    fn get(&self, name: &str, which: Which) -> Result<Got, StoreError>;

    /// Adds the next version of a secret, the first of a new name; which version that is.
    ///
    /// # Errors
    /// [`StoreError::Name`] for what is no resource path, [`StoreError::TooLong`],
    /// [`StoreError::Full`]; else what is wrong with the store.
    fn put_version(&self, name: &str, secret: &Secret, now: u64) -> Result<u32, StoreError>;

    /// Every name, sorted, with its versions and without secrets.
    ///
    /// # Errors
    /// What is wrong with the store.
    fn list(&self) -> Result<Vec<Listed>, StoreError>;

    /// Ends a version: it is given to nobody again, and its bytes leave the store. Its number
    /// stays.
    ///
    /// # Errors
    /// [`StoreError::NoSecret`], [`StoreError::NoVersion`]; revoking again is no error.
    fn revoke(&self, name: &str, version: u32) -> Result<(), StoreError>;

    /// How often a grant was used, and whether this session has its use of it: what the next
    /// [`Store::take_use`] would count, if nobody else asks before.
    ///
    /// # Errors
    /// What is wrong with the store.
    fn uses(&self, grant: &str, session: &[u8; 32], now: u64) -> Result<(u64, bool), StoreError>;

    /// Counts a use of a grant, once for each session.
    ///
    /// # Errors
    /// [`StoreError::UsedUp`] when it would be one more than is admitted; then nothing is counted.
    /// [`StoreError::TooManySessions`] when there is no room to remember it.
    fn take_use(&self, take: &Take<'_>) -> Result<Taken, StoreError>;

    /// Counts a use as [`Store::take_use`] and gives the secret, in one transaction: a secret that
    /// is not there costs no use, and none is given without its use.
    ///
    /// # Errors
    /// Those of [`Store::get`] and [`Store::take_use`]; then nothing is counted, or nobody can tell
    /// ([`StoreError::Failed`]).
    fn release(
        &self,
        name: &str,
        which: Which,
        take: &Take<'_>,
    ) -> Result<(Got, Taken), StoreError>;

    /// Where a counter is; none before its first step.
    ///
    /// # Errors
    /// What is wrong with the store.
    fn counter(&self, name: &str) -> Result<Option<Counter>, StoreError>;

    /// Moves a counter on, if it is where the caller thinks. A step that was made before is no
    /// error, so who did not hear the answer can ask again.
    ///
    /// # Errors
    /// [`StoreError::CounterMoved`] with where it is; [`StoreError::CounterBack`] when the step
    /// would not lead forward.
    fn advance_counter(
        &self,
        name: &str,
        from: Option<Counter>,
        to: Counter,
    ) -> Result<(), StoreError>;
}
