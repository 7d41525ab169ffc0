//! What `casemate attest certs` asks of a store, with and without a network: which revocation lists a report needs,
//! whether one is current, and whose fault an error is.

use crate::Failure;
use casemate_attestation::cert::Crl;
use casemate_attestation::report::{Fields, Generation};
use casemate_attestation::store::StoreError;
use std::io::ErrorKind;

/// The generations a report can be of, as far as it tells.
pub(super) fn generations(fields: &Fields) -> Vec<Generation> {
    match fields.generation() {
        Some(generation) => vec![generation],
        None => vec![Generation::Milan, Generation::Genoa, Generation::Turin],
    }
}

/// Whether now lies between a list's dates.
pub(super) fn is_current(crl: &Crl) -> bool {
    let now = casemate_attestation::time::now();
    crl.this_update <= now && crl.next_update.is_some_and(|next| now <= next)
}

/// What the user sees of an error: their input is bad, or the store cannot be used.
pub(super) fn failure(error: &StoreError) -> Failure {
    match error {
        StoreError::Io { source, .. } if source.kind() == ErrorKind::FileTooLarge => {
            Failure::BadInput(error.to_string())
        }
        StoreError::Io { .. } => Failure::Failed(error.to_string()),
        StoreError::Content { .. } | StoreError::Foreign => Failure::BadInput(error.to_string()),
    }
}
