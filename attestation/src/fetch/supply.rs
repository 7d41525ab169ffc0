//! Fetching what a report needs and a store lacks.

use super::{FetchError, Fetcher};
use crate::cert::{Certificate, Crl, KeyKind};
use crate::kds::chain_path;
use crate::report::{Fields, Generation};
use crate::selection::{ListNeed, VekNeed, is_current, needs};
use crate::store::{Store, StoreError};
use crate::verify::{Code, Status, Verifier};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use std::path::PathBuf;

/// Something that was fetched and kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The whole address it was fetched from.
    pub url: String,
    /// The file in the store where it is kept now.
    pub place: PathBuf,
    /// A list whose dates do not contain the time of asking: a verifier refuses it.
    pub stale: bool,
}

/// Why a store could not be completed. What was fetched before stays in it.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    /// The server did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The server gave something else.
    #[error("{url}: the key server sent something else: {why}")]
    Other {
        /// The whole address that was asked.
        url: String,
        /// What is wrong with what came.
        why: String,
    },
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(StoreError),
}

/// Fetches the endorsement certificate of a report, with its chain where that is new, and
/// revocation lists that are missing or past their next update at `at`. Tells of each object as it
/// is kept.
///
/// # Errors [`SupplyError`] at the first thing that cannot be had.
pub fn supply(
    fetcher: &Fetcher,
    store: &Store,
    report: &Fields,
    at: u64,
    told: &mut dyn FnMut(&Fetched),
) -> Result<(), SupplyError> {
    let mut supply = Supply { fetcher, store, at, told };
    // Only what the store lacks is asked for: AMD's server allows a chip one request in ten
    // seconds, and a certificate of this TCB does not change.
    if let VekNeed::At(paths) = needs(store, report).map_err(SupplyError::Store)?.vek {
        supply.vek(report, &paths)?;
    }
    // Again: the certificate names the generation where the report does not.
    for list in needs(store, report).map_err(SupplyError::Store)?.lists {
        if !list.is_current(at) {
            supply.list(&list)?;
        }
    }
    Ok(())
}

struct Supply<'a> {
    fetcher: &'a Fetcher,
    store: &'a Store,
    at: u64,
    told: &'a mut dyn FnMut(&Fetched),
}

impl Supply<'_> {
    fn other(&self, path: &str, why: &dyn std::fmt::Display) -> SupplyError {
        SupplyError::Other { url: self.fetcher.url(path), why: why.to_string() }
    }

    /// What the store says of something from the server: not genuine is the server's fault.
    fn kept(&self, path: &str, kept: Result<PathBuf, StoreError>) -> Result<PathBuf, SupplyError> {
        kept.map_err(|error| match error {
            StoreError::File(_) => SupplyError::Store(error),
            other => self.other(path, &other),
        })
    }

    fn tell(&mut self, path: &str, place: PathBuf, stale: bool) {
        let url = self.fetcher.url(path);
        event!(INFO, Evidence, "fetched and kept", url = value(&url), stale = stale);
        (self.told)(&Fetched { url, place, stale });
    }

    /// The certificate of this report; of a report of version 2 the first of its paths that has it.
    fn vek(&mut self, report: &Fields, paths: &[(Generation, String)]) -> Result<(), SupplyError> {
        let mut last = None;
        // A report of version 2 does not name its generation, so both that it can be are asked in
        // turn. Only "there is no such thing" leads on to the next: an overloaded server has not
        // answered the question.
        for (generation, path) in paths {
            let bytes = match self.fetcher.get(path) {
                Ok(bytes) => bytes,
                Err(error @ FetchError::Missing { .. }) => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let vek = Certificate::from_der(&bytes).map_err(|error| self.other(path, &error))?;
            // The chain before the certificate: the store takes only what is genuine, and the
            // certificate of a new ASK cannot be found genuine without it.
            self.chain(*generation, &vek)?;
            let place = self.kept(path, self.store.import(&vek))?;
            self.tell(path, place, false);
            // Asked of the store again, not of what was sent: a genuine certificate of another chip
            // would be kept and still leave this report without one.
            let found = self.store.candidates(report).map_err(SupplyError::Store)?;
            if found.is_empty() {
                return Err(self.other(path, &"the certificate is another chip's or TCB's"));
            }
            return Ok(());
        }
        last.map_or(Ok(()), |error| Err(error.into()))
    }

    /// ASK and ARK, when no certificate at hand signed the VEK: AMD has replaced the ASK since this
    /// program was built. Before the VEK, which does not enter the store without them.
    fn chain(&mut self, generation: Generation, vek: &Certificate) -> Result<(), SupplyError> {
        let mut verifier = Verifier::new(self.at);
        for one in self.store.intermediates().map_err(SupplyError::Store)? {
            verifier.roots.add_intermediate(one);
        }
        // Only a signature that does not hold says that the issuer is missing. A certificate out of
        // its dates, or of another kind, would not become better by another ASK.
        let unsigned = verifier.verify_chain(vek.der()).is_err_and(|checks| {
            let fault = |code| checks.iter().any(|c| c.code == code && c.status == Status::Failed);
            fault(Code::VekSignature)
        });
        if !unsigned {
            return Ok(());
        }
        let path = chain_path(generation, KeyKind::Vcek);
        let bytes = self.fetcher.get(&path)?;
        // What is among them and not genuine is refused by the store, and is then the server's
        // fault.
        let all = crate::cert::certificates_in(&bytes).map_err(|e| self.other(&path, &e))?;
        for one in &all {
            let place = self.kept(&path, self.store.import(one))?;
            self.tell(&path, place, false);
        }
        Ok(())
    }

    /// A revocation list; it is kept beside the older ones.
    fn list(&mut self, list: &ListNeed) -> Result<(), SupplyError> {
        let path = &list.path;
        let bytes = self.fetcher.get(path)?;
        let crl = Crl::from_der(&bytes).map_err(|error| self.other(path, &error))?;
        // Authentic before it is kept: signed by a root that this program trusts. Its dates are
        // looked at after that, since an old list that is genuine is worth keeping, and worth
        // telling.
        let root = Verifier::new(self.at).authentic_list(&crl);
        let (_, generation) = root.map_err(|error| self.other(path, &error))?;
        // A genuine list of another generation would lie in the place of this one and say nothing
        // about it.
        if generation != list.generation {
            return Err(self.other(path, &"a list of another root"));
        }
        let place = self.kept(path, self.store.import_crl(list.kind, &crl))?;
        let stale = !is_current(&crl, self.at);
        self.tell(path, place, stale);
        Ok(())
    }
}
