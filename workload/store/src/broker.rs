//! The store as the key broker asks it: decided releases, each one transaction.

use crate::{LogStore, Store, StoreError, Take, Taken, Which};
use casemate_broker::stores::{self, Decided, Secrets, SessionId, Unavailable};

/// After so many seconds sessions that are over have made room for others.
const ROOM: u64 = 30;

impl Secrets for LogStore {
    fn uses(&self, grant: &str, session: SessionId, now: u64) -> Result<u64, Unavailable> {
        let (count, has_one) = Store::uses(self, grant, &session.0, now).map_err(unavailable)?;
        Ok(if has_one { count } else { count.saturating_add(1) })
    }

    fn take(&self, decided: &Decided<'_>) -> Result<stores::Taken, Unavailable> {
        let Decided { resource, grant, session, uses, now, until } = *decided;
        // A count only grows: if this use would still have the number that was decided on, that
        // number admits it, and if it would have a greater one, it does not.
        let take = Take { grant, session: session.0, most: uses, now, until };
        match self.release(resource.name(), Which::Newest, &take) {
            Ok((got, Taken::Counted(_) | Taken::Again)) => Ok(stores::Taken::Secret {
                secret: got.secret.into_bytes(),
                version: u64::from(got.version),
            }),
            Err(StoreError::UsedUp { .. }) => Ok(stores::Taken::Moved),
            Err(StoreError::NoSecret | StoreError::NoVersion | StoreError::Revoked) => {
                Ok(stores::Taken::NotThere)
            }
            Err(error) => Err(unavailable(error)),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is the error's way out")]
fn unavailable(error: StoreError) -> Unavailable {
    match error {
        StoreError::TooManySessions => Unavailable::Busy(ROOM),
        error => Unavailable::Failed(error.to_string()),
    }
}
