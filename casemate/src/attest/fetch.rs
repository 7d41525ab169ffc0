//! `casemate attest certs --fetch`: asks the key server for what the store lacks. Feature `fetch`.

use crate::{Failure, Outcome};
use casemate_attestation::report::Fields;
use casemate_attestation::store::Store;
use clap::Args;

/// Options about the key server.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Fetch what --for misses from the key server: the certificate, and revocation lists that are missing or stale.
    #[arg(long, requires = "report")]
    fetch: bool,
    /// Another key server than AMD's: the part of the address before /vcek.
    #[arg(long, value_name = "URL", requires = "report")]
    kds_url: Option<String>,
}

impl Fetch {
    /// The server that was named.
    pub(super) fn server(&self) -> Option<&str> {
        self.kds_url.as_deref()
    }

    /// Fetches what the store lacks for this report, when asked to.
    ///
    /// # Errors
    /// When something cannot be fetched; what was fetched before stays.
    #[cfg(not(feature = "fetch"))]
    pub(super) fn run(&self, _store: &Store, _fields: &Fields) -> Outcome {
        if self.fetch {
            let message = "--fetch: this program was built without the feature `fetch` and uses no network; \
                           fetch the addresses printed without --fetch by other means, and --import the files";
            return Err(Failure::BadInput(message.into()));
        }
        Ok(())
    }

    /// Fetches what the store lacks for this report, when asked to.
    ///
    /// # Errors
    /// When something cannot be fetched; what was fetched before stays.
    #[cfg(feature = "fetch")]
    pub(super) fn run(&self, store: &Store, fields: &Fields) -> Outcome {
        if !self.fetch {
            return Ok(());
        }
        let fetcher = casemate_attestation::fetch::Fetcher::new(self.server());
        asking::vek(&fetcher, store, fields)?;
        asking::lists(&fetcher, store, fields)
    }
}

#[cfg(feature = "fetch")]
mod asking {
    use super::super::store::{failure, generations, is_current};
    use super::{Failure, Fields, Outcome, Store};
    use crate::out::{errln, outln};
    use casemate_attestation::cert::{Certificate, Crl, certificates_in, recognise_name};
    use casemate_attestation::fetch::{FetchError, Fetcher};
    use casemate_attestation::kds::{chain_path, crl_path, vcek_paths};
    use casemate_attestation::report::{Generation, SigningKey};
    use casemate_attestation::verify::{Code, Verifier};

    fn failed(error: &FetchError) -> Failure {
        Failure::Failed(error.to_string())
    }

    fn not_what_was_asked(url: &str, why: &dyn std::fmt::Display) -> Failure {
        Failure::Failed(format!("{url}: the key server sent something else: {why}"))
    }

    /// The certificate of this report, unless it is kept already: it never changes.
    pub(super) fn vek(fetcher: &Fetcher, store: &Store, fields: &Fields) -> Outcome {
        if store.find_vek(fields).is_some() {
            return Ok(());
        }
        let mut last = None;
        for (generation, path) in vcek_paths(fields) {
            let url = fetcher.url(&path);
            let bytes = match fetcher.get(&path) {
                Ok(bytes) => bytes,
                // A report of version 2 does not tell its generation: the next address may have it.
                Err(error @ FetchError::Missing { .. }) => {
                    last = Some(error);
                    continue;
                }
                Err(error) => return Err(failed(&error)),
            };
            let vek =
                Certificate::from_der(&bytes).map_err(|error| not_what_was_asked(&url, &error))?;
            let place = store.import(&vek).map_err(|error| failure(&error))?;
            outln!("fetched {url} to {}", place.display());
            if store.find_vek(fields).is_none() {
                let why = "the certificate is another chip's or TCB's";
                return Err(not_what_was_asked(&url, &why));
            }
            return chain(fetcher, store, generation, &vek);
        }
        last.map_or(Ok(()), |error| Err(failed(&error)))
    }

    /// ASK and ARK, when no certificate at hand signed the VEK: AMD has replaced the ASK since this program was built.
    fn chain(
        fetcher: &Fetcher,
        store: &Store,
        generation: Generation,
        vek: &Certificate,
    ) -> Outcome {
        let mut verifier = Verifier::new(casemate_attestation::time::now());
        for one in store.intermediates() {
            verifier.roots.add_intermediate(one);
        }
        let unsigned = match verifier.verify_chain(vek.der()) {
            Ok(_) => false,
            Err(checks) => checks.iter().any(|check| {
                check.code == Code::VekSignature
                    && check.status == casemate_attestation::verify::Status::Failed
            }),
        };
        if !unsigned {
            return Ok(());
        }
        let path = chain_path(generation, SigningKey::Vcek);
        let url = fetcher.url(&path);
        let bytes = fetcher.get(&path).map_err(|error| failed(&error))?;
        let all = certificates_in(&bytes).map_err(|error| not_what_was_asked(&url, &error))?;
        for one in &all {
            let place = store.import(one).map_err(|error| failure(&error))?;
            outln!("fetched {url} to {}", place.display());
        }
        Ok(())
    }

    /// Revocation lists that are missing or past their next update; the newest is kept beside the older ones.
    pub(super) fn lists(fetcher: &Fetcher, store: &Store, fields: &Fields) -> Outcome {
        let issuer = store
            .find_vek(fields)
            .and_then(|der| Certificate::from_der(&der).ok())
            .and_then(|vek| recognise_name(&vek.issuer))
            .and_then(|(_, role)| role.generation());
        let wanted = issuer.map_or_else(|| generations(fields), |one| vec![one]);
        for generation in wanted {
            let kept = store.crls();
            if kept.iter().any(|(of, crl)| *of == generation && is_current(crl)) {
                continue;
            }
            let path = crl_path(generation);
            let url = fetcher.url(&path);
            let bytes = fetcher.get(&path).map_err(|error| failed(&error))?;
            let crl = Crl::from_der(&bytes).map_err(|error| not_what_was_asked(&url, &error))?;
            if recognise_name(&crl.issuer).and_then(|(_, role)| role.generation())
                != Some(generation)
            {
                return Err(not_what_was_asked(&url, &"a list of another root"));
            }
            let place = store.import_crl(&crl).map_err(|error| failure(&error))?;
            outln!("fetched {url} to {}", place.display());
            if !is_current(&crl) {
                errln!("casemate: {url}: the list is not current; the verifier will refuse it");
            }
        }
        Ok(())
    }
}
