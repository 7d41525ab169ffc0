//! The addresses of AMD's key server (KDS): where a missing certificate or revocation list is.
//!
//! Nothing is fetched here. Source: AMD 57230, "VCEK Certificate and KDS Interface", and 58369 for
//! VLEKs.

use crate::cert::{Certificate, KeyKind};
use crate::hex;
use crate::report::{Fields, Generation, SigningKey};

/// AMD's key server, without a slash behind it: the paths below begin with one.
pub const KEY_SERVER: &str = "https://kdsintf.amd.com";

/// Where the VCEK of a report can be: the generation, and the path on a key server.
///
/// One place for a report that tells its generation; Milan and Genoa for one of version 2, which
/// does not; none for a report under a VLEK, with a masked chip identifier, or of an unknown
/// processor.
#[must_use]
pub fn vcek_paths(report: &Fields) -> Vec<(Generation, String)> {
    // A masked chip identifier is all zeros, and no server can be asked for it. A VLEK is handed to
    // a provider and is on no public server.
    let masked = report.chip_id.iter().all(|byte| *byte == 0);
    if masked || report.signing_key() != SigningKey::Vcek {
        return Vec::new();
    }
    let candidates = match report.generation() {
        Some(generation) => vec![generation],
        None if report.version < 3 => vec![Generation::Milan, Generation::Genoa],
        None => Vec::new(),
    };
    candidates
        .into_iter()
        .filter_map(|generation| Some((generation, vcek_path(report, generation)?)))
        .collect()
}

fn vcek_path(report: &Fields, generation: Generation) -> Option<String> {
    // The server wants as many bytes of the identifier as the certificate has: on Turin 8 of the
    // 64.
    let hwid = report.chip_id.get(..generation.hwid_length())?;
    // REPORTED_TCB is the one the key is derived for, among the four of a report. Its components go
    // into the query in the order of the layout, with two digits at least (57230).
    let query: Vec<_> = report
        .reported_tcb
        .components(generation)
        .map(|(name, value)| {
            let key = match name {
                "bootloader" => "blSPL",
                "tee" => "teeSPL",
                "snp" => "snpSPL",
                "microcode" => "ucodeSPL",
                _ => "fmcSPL",
            };
            format!("{key}={value:02}")
        })
        .collect();
    let name = generation.name();
    Some(format!("/vcek/v1/{name}/{}?{}", hex::encode(hwid), query.join("&")))
}

/// The path of a generation's CA certificates: ASK and ARK, or ASVK and ARK.
#[must_use]
pub fn chain_path(generation: Generation, kind: KeyKind) -> String {
    format!("/{}/v1/{}/cert_chain", kind.path(), generation.name())
}

/// The path of a generation's revocation list for one kind of chain, as AMD's certificates have it.
#[must_use]
pub fn crl_path(generation: Generation, kind: KeyKind) -> String {
    format!("/{}/v1/{}/crl", kind.path(), generation.name())
}

/// Where the revocation list of an ASK or ASVK is: what the certificate itself says, when that is
/// on AMD's server, else the usual path. The certificate must be genuine: a false one sends
/// elsewhere.
#[must_use]
pub fn crl_path_of(certificate: &Certificate, generation: Generation, kind: KeyKind) -> String {
    // Another server's address is not followed: what is fetched is from the one server that was
    // named, and a path is all that is taken over.
    let own = certificate.distribution_point();
    let path = own.as_deref().and_then(|uri| uri.strip_prefix(KEY_SERVER));
    // Nothing that could end the request line early or begin another header.
    let plain = |path: &&str| path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
    path.filter(plain).map_or_else(|| crl_path(generation, kind), ToOwned::to_owned)
}
