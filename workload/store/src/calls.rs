//! The transactions, of the store of one broker.

use crate::log::LogStore;
use crate::record::Record;
use crate::seal::{SEALED, about_secret};
use crate::state::pair;
use crate::{
    Counter, Got, Listed, MAX_SECRET, MAX_TEXT, Secret, Store, StoreError, Take, Taken, Which,
};

fn text(name: &str) -> Result<(), StoreError> {
    if (1..=MAX_TEXT).contains(&name.len()) { Ok(()) } else { Err(StoreError::Text) }
}

impl Store for LogStore {
    fn get(&self, name: &str, which: Which) -> Result<Got, StoreError> {
        self.settled()?.got(name, which)
    }

    fn put_version(&self, name: &str, secret: &Secret, now: u64) -> Result<u32, StoreError> {
        if let Some(why) = casemate_policy::resource_fault(name) {
            return Err(StoreError::Name { why });
        }
        if secret.bytes().len() > MAX_SECRET {
            return Err(StoreError::TooLong);
        }
        let mut inner = self.for_change(name.len() + secret.bytes().len())?;
        // A file that is made shorter by this leaves out the sessions that are over.
        inner.now = now;
        let version = inner.state.next_version(name)?;
        if !inner.state.has_room(name.len() + secret.bytes().len() + SEALED) {
            return Err(StoreError::Full);
        }
        let sealed = inner.sealer.seal(&about_secret(name, version), secret.bytes())?;
        let (name, sealed) = (name.into(), sealed.into());
        self.commit(inner, Record::Put { name, version, at: now, sealed })?;
        Ok(version)
    }

    fn list(&self) -> Result<Vec<Listed>, StoreError> {
        Ok(self.settled()?.state.list(SEALED))
    }

    fn revoke(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let mut inner = self.for_change(name.len())?;
        if !inner.state.is_alive(name, version)? {
            let made = inner.made;
            return self.settle(inner, made).map(drop);
        }
        // Its bytes leave the file, too; where the disk has no room for another one, later.
        inner.patience = 0;
        self.commit(inner, Record::Revoke { name: name.into(), version })
    }

    fn uses(&self, grant: &str, session: &[u8; 32], now: u64) -> Result<(u64, bool), StoreError> {
        let inner = self.settled()?;
        Ok((inner.state.count(grant), inner.state.has_use(&pair(grant, session), now)))
    }

    fn take_use(&self, take: &Take<'_>) -> Result<Taken, StoreError> {
        text(take.grant)?;
        self.take(self.for_change(take.grant.len())?, take)
    }

    fn release(
        &self,
        name: &str,
        which: Which,
        take: &Take<'_>,
    ) -> Result<(Got, Taken), StoreError> {
        text(take.grant)?;
        let inner = self.for_change(take.grant.len())?;
        // A version that is not yet on the disk is given with the use, which is behind it there.
        let got = inner.got(name, which)?;
        let taken = self.take(inner, take)?;
        Ok((got, taken))
    }

    fn counter(&self, name: &str) -> Result<Option<Counter>, StoreError> {
        Ok(self.settled()?.state.counter(name))
    }

    fn advance_counter(
        &self,
        name: &str,
        from: Option<Counter>,
        to: Counter,
    ) -> Result<(), StoreError> {
        text(name)?;
        let inner = self.for_change(name.len())?;
        let at = inner.state.counter(name);
        if at == Some(to) {
            let made = inner.made;
            return self.settle(inner, made).map(drop);
        }
        if at != from {
            let made = inner.made;
            self.settle(inner, made).map(drop)?;
            return Err(StoreError::CounterMoved(at));
        }
        if from.is_some_and(|from| from.version >= to.version) {
            return Err(StoreError::CounterBack);
        }
        // A counter that is there has its place.
        if at.is_none() && !inner.state.has_room(name.len()) {
            return Err(StoreError::Full);
        }
        self.commit(inner, Record::Step { name: name.into(), to })
    }
}
