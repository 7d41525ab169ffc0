//! Where each kind of object is kept.
//!
//! `<generation>/ca/<role>-<serial>-<certificate>.der`,
//! `<generation>/vcek/<hwid>-<tcb>/<key>-<certificate>.der`,
//! `<generation>/vlek/<tcb>/<key>-<certificate>.der`,
//! `<generation>/crl/<vcek|vlek>/<thisUpdate>-<list>.der`.
//!
//! A key is named by the digest of its SubjectPublicKeyInfo and a certificate by its own, so no
//! object has another's place: of two VLEKs for one TCB, of different regions or years, both stay.
//! A lookup reads the one folder of its chip and TCB, however many chips a store has. Stores that
//! earlier releases wrote have one file per chip and TCB and one folder of lists; they are read.

use crate::cert::{Authority, Certificate, Crl, KeyKind, Role, VekExtensions, VekKind};
use crate::hex;
use crate::report::{Fields, Generation};
use ring::digest::{SHA256, digest};
use std::path::{Path, PathBuf};

/// `<root>/<generation>/<kind>`, the generation in lower case.
pub(super) fn folder(root: &Path, generation: Generation, kind: &str) -> PathBuf {
    root.join(generation.name().to_lowercase()).join(kind)
}

/// The first 8 bytes of a digest: enough to tell the objects of one folder apart.
fn short(digest: &[u8]) -> String {
    hex::encode(digest.get(..8).unwrap_or(digest))
}

/// The place of a certificate of AMD's hierarchy.
pub(super) fn of(root: &Path, certificate: &Certificate) -> Option<PathBuf> {
    let (Authority::Amd, role) = certificate.role()? else { return None };
    // Names are made of digests and hexadecimal only, never of text out of a certificate: no name
    // can lead out of the store, or be another's.
    let own = short(digest(&SHA256, certificate.der()).as_ref());
    let serial = hex::encode(&certificate.serial);
    let ca = |generation, role| {
        folder(root, generation, "ca").join(format!("{role}-{serial}-{own}.der"))
    };
    match role {
        Role::Ark(generation) => Some(ca(generation, "ark")),
        Role::Ask(generation) => Some(ca(generation, "ask")),
        Role::Asvk(generation) => Some(ca(generation, "asvk")),
        Role::Vcek | Role::Vlek => {
            // A VEK's own name does not tell the generation, its issuer's does.
            let (_, issuer) = crate::cert::recognise_name(&certificate.issuer)?;
            let generation = issuer.generation()?;
            let extensions = VekExtensions::parse(&certificate.extensions).ok()?;
            let tcb = hex::encode(&extensions.tcb);
            let kind = folder(root, generation, extensions.kind.kind().path());
            let key = short(&certificate.key_digest);
            let folder = match &extensions.kind {
                VekKind::Vcek { hwid } => kind.join(format!("{}-{tcb}", hex::encode(hwid))),
                VekKind::Vlek { .. } => kind.join(tcb),
            };
            Some(folder.join(format!("{key}-{own}.der")))
        }
    }
}

/// The place of a revocation list, by its date and its digest.
pub(super) fn of_list(root: &Path, generation: Generation, kind: KeyKind, crl: &Crl) -> PathBuf {
    let own = short(digest(&SHA256, crl.der()).as_ref());
    // Twelve digits, so that names sort by date far beyond the year 9999.
    lists(root, generation, kind).join(format!("{:012}-{own}.der", crl.this_update))
}

/// Where the lists of one kind are.
pub(super) fn lists(root: &Path, generation: Generation, kind: KeyKind) -> PathBuf {
    folder(root, generation, "crl").join(kind.path())
}

/// Where the endorsement keys that fit a report are, if it is of this generation.
pub(super) struct Fitting {
    /// A folder all of whose files fit.
    pub(super) folder: PathBuf,
    /// One file of an earlier release, or the folder in which such files end in `-<tcb>.der`.
    pub(super) earlier: PathBuf,
    /// How such files end there; none where `earlier` is one file.
    pub(super) ending: Option<String>,
}

/// Where to look for the certificate of a report.
pub(super) fn fitting(
    root: &Path,
    generation: Generation,
    kind: KeyKind,
    report: &Fields,
) -> Option<Fitting> {
    let tcb = hex::encode(&report.reported_tcb.0);
    let kinds = folder(root, generation, kind.path());
    Some(match kind {
        KeyKind::Vcek => {
            // As many bytes as the certificate has: on Turin 8, of which the report's other 56 are
            // zero.
            let hwid = hex::encode(report.chip_id.get(..generation.hwid_length())?);
            let name = format!("{hwid}-{tcb}");
            let earlier = kinds.join(format!("{name}.der"));
            Fitting { folder: kinds.join(name), earlier, ending: None }
        }
        KeyKind::Vlek => {
            let ending = Some(format!("-{tcb}.der"));
            Fitting { folder: kinds.join(tcb), earlier: kinds, ending }
        }
    })
}
