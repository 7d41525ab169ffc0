//! `casemate attest certs --fetch`: asks the key server for what the store lacks. Feature `fetch`.

use crate::{Failure, Outcome};
use casemate_attestation::report::Fields;
use casemate_attestation::store::Store;
use clap::Args;

/// Options about the key server.
#[derive(Debug, Args)]
pub struct Fetch {
    /// Fetch what --for misses from the key server: the certificate, and revocation lists that are
    /// missing or stale.
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
    pub(super) fn run(&self, _store: &Store, _report: &Fields) -> Outcome {
        if self.fetch {
            let message = "--fetch: this program uses no network, since it was built without the \
                           feature `fetch`: use the verifier, which has it, or fetch the addresses \
                           printed without --fetch by other means, and --import the files";
            return Err(Failure::BadInput(message.into()));
        }
        Ok(())
    }

    /// Fetches what the store lacks for this report, when asked to.
    ///
    /// # Errors
    /// When something cannot be fetched; what was fetched before stays.
    #[cfg(feature = "fetch")]
    pub(super) fn run(&self, store: &Store, report: &Fields) -> Outcome {
        use crate::out::{errln, outln};
        use casemate_attestation::fetch::{Fetched, Fetcher, supply};
        use casemate_foreign_text::value;
        if !self.fetch {
            return Ok(());
        }
        let fetcher = Fetcher::new(self.server());
        let mut tell = |fetched: &Fetched| {
            let Fetched { url, place, stale } = fetched;
            let url = value(url).at_most(1024);
            outln!("fetched {url} to {}", value(place.display()).at_most(4096));
            if *stale {
                errln!("casemate: {url}: the list is not current; the verifier will refuse it");
            }
        };
        supply(&fetcher, store, report, casemate_attestation::time::now(), &mut tell)
            .map_err(|error| Failure::Failed(error.to_string()))
    }
}
