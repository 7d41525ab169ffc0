//! `casemate attest table`: the certificate table of extended guest requests.

use crate::files::{read_file, write_file};
use crate::out::outln;
use crate::{Failure, Outcome};
use casemate_attestation::cert::{Role, certificates_in};
use casemate_attestation::evidence::{
    ARK_GUID, ASK_GUID, GuestCertTable, GuestTableError, Guid, VCEK_GUID, VLEK_GUID, encode_table,
};
use clap::Args;
use std::path::PathBuf;

/// Make the certificate table that a host gives to its guests.
///
/// The file is what `snp.certs` of a VM names: a guest gets it with its extended report, and
/// whoever verifies that report needs no key server. Nothing in it is trusted by a verifier but
/// what leads to a root that it knows.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest table vcek.der ask.pem --out certs.bin
")]
pub struct Table {
    /// VCEK or VLEK of this host, and if wanted its issuers; DER or PEM.
    #[arg(required = true, value_name = "CERTIFICATE")]
    certificates: Vec<PathBuf>,
    /// Where the table goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &Table) -> Outcome {
    let bad = |text: String| Err(Failure::BadInput(text));
    let mut found: Vec<(Guid, Vec<u8>)> = Vec::new();
    for path in &args.certificates {
        let certificates = certificates_in(&read_file(path)?)
            .map_err(|error| Failure::BadInput(format!("{}: {error}", path.display())))?;
        for certificate in certificates {
            let Some((authority, role)) = certificate.role() else {
                return bad(format!("{}: a certificate that is not of SNP", path.display()));
            };
            let name = role.common_name(authority);
            let Some(guid) = guid(role) else {
                outln!("left out: {name}; tables have no place for it");
                continue;
            };
            if found.iter().any(|(other, _)| *other == guid) {
                return bad(format!(
                    "{}: a second {name}; a table has room for one",
                    path.display()
                ));
            }
            outln!("{name}: {} bytes", certificate.der().len());
            found.push((guid, certificate.der().to_vec()));
        }
    }
    if !found.iter().any(|(guid, _)| [VCEK_GUID, VLEK_GUID].contains(guid)) {
        return bad("no VCEK or VLEK among these: a guest's report could not be verified".into());
    }
    let entries: Vec<(Guid, &[u8])> =
        found.iter().map(|(guid, der)| (*guid, der.as_slice())).collect();
    let size = entries.iter().map(|(_, der)| der.len()).sum();
    let table =
        encode_table(&entries).map_or(Err(GuestTableError::TooLarge(size)), GuestCertTable::new);
    let table = table.map_err(|error| Failure::BadInput(error.to_string()))?;
    write_file(&args.out, table.bytes())
}

/// The place of a certificate in a table (GHCB specification, SNP extended guest request).
const fn guid(role: Role) -> Option<Guid> {
    match role {
        Role::Ark(_) => Some(ARK_GUID),
        Role::Ask(_) => Some(ASK_GUID),
        Role::Asvk(_) => None,
        Role::Vcek => Some(VCEK_GUID),
        Role::Vlek => Some(VLEK_GUID),
    }
}
