//! Checks of a report by itself: everything before certificates.

use super::{Checks, Code};
use crate::report::{Fields, Generation, KNOWN_VERSIONS, Report, SigningKey, Unverified};

/// Order of the P-384 group, big-endian. Source: SEC 2, section 2.5.1.
const P384_ORDER: [u8; 48] = *b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xff\xff\xff\xff\xff\xff\xc7\x63\x4d\x81\xf4\x37\x2d\xdf\
    \x58\x1a\x0d\xb2\x48\xb0\xa7\x7a\xec\xec\x19\x6a\xcc\xc5\x29\x73";

/// Makes the checks that need the report alone; returns r and s, big-endian, when they are in
/// range.
pub(super) fn check(
    report: &Report<Unverified>,
    allow_newer: bool,
    checks: &mut Checks,
) -> Option<[u8; 96]> {
    let fields = report.unverified_fields();
    let version = fields.version;
    // A newer version may give reserved bits and bytes a meaning, so that for it, when it is
    // allowed, these are warnings. Everything else, the signature's form included, is held.
    let newer = version > *KNOWN_VERSIONS.end();
    if newer && allow_newer {
        checks.warn(Code::ReportVersion, format!("{version}, newer than this program, allowed"));
    } else {
        checks.require(Code::ReportVersion, !newer, version.to_string(), "2, 3, 4 or 5");
    }
    let algorithm = fields.signature_algorithm;
    checks.require(
        Code::SignatureAlgorithm,
        algorithm == 1,
        algorithm.to_string(),
        "1 (ECDSA P-384 with SHA-384)",
    );
    let undefined = fields.flags & !0x1f;
    if undefined == 0 || (newer && allow_newer) {
        checks.pass(Code::ReportFlags, format!("{:#x}", fields.flags));
    } else {
        checks.fail(Code::ReportFlags, format!("{:#x}", fields.flags), "bits 31:5 zero");
    }
    match report.unverified_fields().first_reserved(report.raw()) {
        None => checks.pass(Code::ReportReserved, "all zero"),
        Some(offset) if newer && allow_newer && offset < crate::report::SIGNED_SIZE => checks.warn(
            Code::ReportReserved,
            format!("offset {offset:#x} is not zero, allowed as newer"),
        ),
        Some(offset) => {
            checks.fail(Code::ReportReserved, format!("offset {offset:#x} is not zero"), "zero");
        }
    }
    // `author` without the flag is what cannot be; the flag with a digest of zeros is possible, as
    // of a key that hashes so.
    let author = fields.author_key_digest.iter().any(|byte| *byte != 0);
    checks.require(
        Code::AuthorKeyFlag,
        author <= fields.author_key_enabled(),
        if fields.author_key_enabled() { "author key given" } else { "no author key" },
        "no author key digest without the flag",
    );
    signature(fields, checks)
}

/// Checks that need to know the generation: TCB layout and order, generation by CPUID.
pub(super) fn check_generation(
    fields: &Fields,
    issuer: Generation,
    product: &str,
    struct_version: u8,
    checks: &mut Checks,
) {
    // Two layouts of one TCB: which one the certificate's structVersion stands for has to be the
    // issuer's generation's.
    let layout_fits = (issuer.hwid_length() == 8) == (struct_version == 1);
    let [family, model, stepping] = fields.cpuid;
    let (fits, named) = if fields.version >= 3 {
        let generation = fields.generation();
        let name = generation.map_or("unknown", Generation::name);
        let processor = format!("family {family:#x} model {model:#x} stepping {stepping}");
        (generation == Some(issuer), format!("{name} ({processor})"))
    } else {
        (true, "names none in version 2".to_owned())
    };
    checks.require(
        Code::Generation,
        fits && issuer.matches_product(product) && layout_fits,
        format!("report {named}, issuer {}, product {product}", issuer.name()),
        "all three the same",
    );
    tcbs(fields, issuer, checks);
}

/// The four TCB fields: nothing where the issuer's layout has nothing, and in their order.
fn tcbs(fields: &Fields, issuer: Generation, checks: &mut Checks) {
    let tcbs = [
        ("current", fields.current_tcb),
        ("reported", fields.reported_tcb),
        ("committed", fields.committed_tcb),
        ("launch", fields.launch_tcb),
    ];
    // Held against the issuer's layout, as that is verified; the report's own word on its
    // generation was compared with it above.
    for (name, tcb) in tcbs {
        if !tcb.reserved_is_zero(issuer) {
            checks.fail(
                Code::ReportReserved,
                format!("{name} TCB {:02x?}", tcb.0),
                "reserved zero",
            );
        }
    }
    // The firmware keeps reported at or below committed, committed at or below current. The launch
    // TCB has no fixed place among them: the guest may have been launched before an update.
    let order = fields
        .reported_tcb
        .first_above(fields.committed_tcb, issuer)
        .map(|found| ("reported", "committed", found))
        .or_else(|| {
            fields
                .committed_tcb
                .first_above(fields.current_tcb, issuer)
                .map(|found| ("committed", "current", found))
        });
    match order {
        None => checks.pass(Code::TcbOrder, "holds for every component"),
        Some((above, below, (component, mine, theirs))) => checks.fail(
            Code::TcbOrder,
            format!("{above} {component} {mine} is above {below} {theirs}"),
            "reported <= committed <= current",
        ),
    }
}

/// The kind of key the report claims; a report that is not signed fails here.
pub(super) fn check_signing_key(fields: &Fields, chain_kind: &'static str, checks: &mut Checks) {
    let claimed = match fields.signing_key() {
        // A masked chip key leaves the report unsigned, whatever kind the other bits name.
        _ if fields.chip_key_masked() => "none (chip key masked)",
        SigningKey::Vcek => "VCEK",
        SigningKey::Vlek => "VLEK",
        SigningKey::None => "none",
        SigningKey::Reserved(_) => "undefined",
    };
    checks.require(Code::SigningKey, claimed == chain_kind, claimed, chain_kind);
}

fn signature(fields: &Fields, checks: &mut Checks) -> Option<[u8; 96]> {
    let mut out = [0; 96];
    let (r, s) = out.split_at_mut(48);
    let mut encoded = true;
    let mut in_range = true;
    for (name, source, to) in [("r", fields.signature_r, r), ("s", fields.signature_s, s)] {
        // r and s are little-endian in 72 bytes; P-384 uses 48, and the rest has to be zero, or one
        // signature would have many encodings.
        let (low, high) = source.split_at(48);
        if high.iter().any(|byte| *byte != 0) && encoded {
            encoded = false;
            checks.fail(Code::SignatureEncoding, format!("{name} is longer than 48 bytes"), "zero");
        }
        for (to, from) in to.iter_mut().zip(low.iter().rev()) {
            *to = *from;
        }
        let zero = to.iter().all(|byte| *byte == 0);
        // 0 and n or more are no values of a signature (FIPS 186-5, section 6.4.2). Library and
        // verifier refuse them both; here they are told apart from a signature that is merely
        // wrong.
        if (zero || &*to >= P384_ORDER.as_slice()) && in_range {
            in_range = false;
            let saw = format!("{name} is {}", if zero { "0" } else { "n or more" });
            checks.fail(Code::SignatureRange, saw, "1 to n-1");
        }
    }
    if encoded {
        checks.pass(Code::SignatureEncoding, "zero");
    }
    if in_range {
        checks.pass(Code::SignatureRange, "in range");
    }
    (encoded && in_range).then_some(out)
}
