//! `[secrets]`: a table of grants, one for each resource path (an anchored glob).

use super::attestation::SIGNERS;
use super::{ANY, Enforcer, Field, Key, Kind, NOTHING, field};
use crate::lattice::Tcb;

const BY: &str = Enforcer::Broker.text();

/// Grants take the place of fields here: see `Grant::decide`. No other field belongs to this point.
pub(super) const SECRETS: &[Field] = &[];

/// Fields of each grant, in the order of the reference.
pub const GRANT_FIELDS: &[Field] = &[
    field(
        "secrets.*.attested",
        Key::SecretAttested,
        Kind::Flag,
        [
            "\"required\"",
            "Whether the attestation section admits the report.",
            BY,
            "The secret goes to a guest that fails attestation.",
        ],
    ),
    field(
        "secrets.*.measurement",
        Key::ReportMeasurement,
        Kind::BytesAllowed(48),
        [
            NOTHING,
            "Launch digests that get the secret.",
            BY,
            "Every guest that passes attestation gets every secret.",
        ],
    ),
    field(
        "secrets.*.host_data",
        Key::ReportHostData,
        Kind::BytesAllowed(32),
        [
            NOTHING,
            "HOST_DATA values that get the secret: SHA-256 of the initdata that a guest was started with, `unset` for \
             a guest that was given none.",
            BY,
            "The same image gets the secret with whatever initdata its host wrote: under a looser policy, or with the \
             host's own broker to ask for its keys.",
        ],
    ),
    field(
        "secrets.*.id_key",
        Key::ReportIdKey,
        Kind::BytesAllowed(48),
        [
            ANY,
            "Image signers that get the secret.",
            BY,
            "Images of another signer get the secret, if their digest is listed or `any`.",
        ],
    ),
    field(
        "secrets.*.image_id",
        Key::ReportImage,
        Kind::BytesAllowed(16),
        [
            ANY,
            "Images that get the secret.",
            BY,
            "Another image of the same signer gets the secret, if its digest is listed or `any`.",
        ],
    ),
    field(
        "secrets.*.guest_svn",
        Key::ReportGuestSvn,
        Kind::Floor,
        [
            "0",
            "Least security version of the image.",
            BY,
            "An old signed image gets the secret, if its digest is listed or `any`.",
        ],
    ),
    field(
        "secrets.*.generations",
        Key::ReportGeneration,
        Kind::Choice(&Tcb::GENERATIONS),
        [
            ANY,
            "Processor generations, among those that attestation admits.",
            BY,
            "The secret goes to the weakest generation that attestation admits.",
        ],
    ),
    field(
        "secrets.*.signers",
        Key::ReportSigner,
        Kind::Choice(SIGNERS),
        [
            ANY,
            "Kinds of report signing keys, among those that attestation admits.",
            BY,
            "The secret goes to any machine of a provider that attestation admits.",
        ],
    ),
    field(
        "secrets.*.vmpl",
        Key::ReportVmpl,
        Kind::Ceiling,
        [
            "0",
            "Highest privilege level number that may ask.",
            BY,
            "Less privileged software of the guest gets the secret.",
        ],
    ),
    field(
        "secrets.*.context",
        Key::ReportContext,
        Kind::NAMES,
        [
            NOTHING,
            "Labels of what REPORT_DATA was made for.",
            BY,
            "A report made for another purpose releases the secret.",
        ],
    ),
    field(
        "secrets.*.uses",
        Key::SecretUses,
        Kind::Ceiling,
        [
            NOTHING,
            "How often the secret may be released, this time included.",
            BY,
            "A stolen session takes the secret as often as it likes.",
        ],
    ),
    field(
        "secrets.*.window",
        Key::SecretTime,
        Kind::Window,
        [
            NOTHING,
            "When the secret may be released.",
            BY,
            "A secret that should have been retired is still given out.",
        ],
    ),
    field(
        "secrets.*.session_age",
        Key::SecretSessionAge,
        Kind::Ceiling,
        [
            "300",
            "Greatest age of the attested session in seconds.",
            BY,
            "A session from before a compromise is used after it.",
        ],
    ),
];
