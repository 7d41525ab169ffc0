//! Which certificate and which revocation lists a report is judged with, and what is missing.
//!
//! Principle: every certificate whose kind fits is tried, whoever brought it, and the report's
//! signature chooses. Evidence comes from the host, which may put a wrong certificate there, and a
//! store may hold several for one TCB; neither hides the right one. Lists are chosen by the chain
//! that was chosen: the newest of its generation and its kind. Limit: 64 certificates of each
//! source are tried, about a millisecond each.

use crate::cert::{Authority, Certificate, Crl, KeyKind, Role, builtin, recognise_name};
use crate::evidence::{Evidence, MAX_VEKS};
use crate::kds::{KEY_SERVER, chain_path, crl_path, crl_path_of, vcek_paths};
use crate::record::{InputError, Inputs};
use crate::report::{Fields, Generation, Report, SigningKey};
use crate::store::{Source, Store, StoreError, fits};
use crate::verify::{Code, Seen, Status, Verdict};
use casemate_diagnostics::event;
use casemate_foreign_text::value;

/// Why inputs cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum SelectionError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something else that was given cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
}

/// Chooses the endorsement certificate, the CA certificates and the lists for the report in
/// `inputs`.
///
/// `given` are certificates that the caller names, which go first; then those of the evidence, then
/// those of the store. Lists that `inputs` has are kept; the store gives those of a kind that has
/// none.
///
/// # Errors [`SelectionError`] when the store cannot be read or a MODEL root or policy is not one.
pub fn complete(
    inputs: &mut Inputs,
    given: &[Vec<u8>],
    evidence: &Evidence,
    store: Option<&dyn Source>,
) -> Result<(), SelectionError> {
    // The evidence's parts replace what the inputs held; nothing in it names roots, time or rules.
    inputs.report.clone_from(&evidence.report);
    inputs.azure.clone_from(&evidence.azure);
    let mut candidates: Vec<Vec<u8>> = Vec::new();
    // Bounded for each source by itself, so that evidence full of certificates leaves the caller's
    // and the store's their turn.
    let mut add = |all: &mut dyn Iterator<Item = Vec<u8>>| {
        for der in all.take(MAX_VEKS) {
            if !candidates.contains(&der) {
                candidates.push(der);
            }
        }
    };
    add(&mut given.iter().cloned());
    add(&mut evidence.veks.iter().cloned());
    if let (Some(store), Ok(report)) = (store, Report::parse(&inputs.report)) {
        let found = store.candidates(report.unverified_fields())?;
        add(&mut found.iter().map(|one| one.der().to_vec()));
        let intermediates = store.intermediates()?;
        inputs.intermediates.extend(intermediates.iter().map(|one| one.der().to_vec()));
    }
    let count = candidates.len();
    inputs.vek = choose(inputs, candidates)?;
    let vek = inputs.vek.as_ref().and_then(|der| Certificate::from_der(der).ok());
    let issuer = vek.and_then(|vek| recognise_name(&vek.issuer));
    let issuer = issuer.map(|(authority, role)| role.common_name(authority));
    event!(
        DEBUG,
        Evidence,
        "an endorsement certificate is chosen",
        candidates = count,
        issuer = issuer.as_ref().map(value)
    );
    if let Some(store) = store {
        lists(inputs, store)?;
    }
    let (vcek, vlek) = (inputs.crls.len(), inputs.vlek_crls.len());
    event!(DEBUG, Evidence, "revocation lists are chosen", vcek = vcek, vlek = vlek);
    Ok(())
}

/// The first certificate under which the report's signature and the chain hold, else the one that
/// comes nearest to it, whose faults then say what is wrong.
fn choose(inputs: &Inputs, candidates: Vec<Vec<u8>>) -> Result<Option<Vec<u8>>, InputError> {
    // Nothing to choose from one; whether it fits is the verification's to say, with reasons.
    if candidates.len() < 2 {
        return Ok(candidates.into_iter().next());
    }
    // What the report says is judged once, under the certificate that is chosen; and lists, too,
    // are chosen after it.
    let judged = Inputs { policy: None, context: None, ..inputs.clone() };
    let verifier = judged.verifier()?;
    let report = Report::parse(&inputs.report).ok();
    // One that names the report's chip and TCB is nearer than one that is another's, however sound.
    let named = |der: &[u8]| {
        let fields = report.as_ref().map(Report::unverified_fields);
        fields.zip(Certificate::from_der(der).ok()).is_some_and(|(fields, certificate)| {
            fields.signing_key().kind().is_some_and(|kind| fits(&certificate, kind, fields))
        })
    };
    let mut nearest: Option<((bool, usize), Vec<u8>)> = None;
    for der in candidates {
        let verdict = verifier.verify(&inputs.report, Some(&der));
        if matches!(verdict.report(), Seen::Verified(_)) {
            return Ok(Some(der));
        }
        // Nearest: names this chip and TCB, then has more checks that hold. The faults that people
        // see are then those of the certificate they meant, not of a stranger's beside it.
        let passed = verdict.checks().iter().filter(|check| check.status == Status::Passed);
        let near = (named(&der), passed.count());
        if nearest.as_ref().is_none_or(|(nearest, _)| near > *nearest) {
            nearest = Some((near, der));
        }
    }
    Ok(nearest.map(|(_, der)| der))
}

/// The newest lists of the chosen certificate's generation. The other kind's is given to the
/// verifier as well: nothing is shown by it, but a serial on it is revoked.
fn lists(inputs: &mut Inputs, store: &dyn Source) -> Result<(), StoreError> {
    let vek = inputs.vek.as_ref().and_then(|der| Certificate::from_der(der).ok());
    // The issuer names the generation; a report of version 2 does not.
    let issuer = vek.and_then(|vek| recognise_name(&vek.issuer));
    let Some(generation) = issuer.and_then(|(_, role)| role.generation()) else { return Ok(()) };
    // Lists that the caller brought count alone for their kind: an old one that is asked about on
    // purpose is not outdone by the store's.
    for (kind, lists) in [(KeyKind::Vcek, &mut inputs.crls), (KeyKind::Vlek, &mut inputs.vlek_crls)]
    {
        if lists.is_empty() {
            lists.extend(store.crl(generation, kind)?.map(|crl| crl.der().to_vec()));
        }
    }
    Ok(())
}

/// What a report needs beside itself, and whether a store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// The endorsement certificate, and where it is when it is not at hand.
    pub vek: VekNeed,
    /// The revocation list of each generation that the report can be of.
    pub lists: Vec<ListNeed>,
}

/// The endorsement certificate of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VekNeed {
    /// At hand; these, genuine and fitting, of which the report's signature chooses one.
    AtHand(Vec<Certificate>),
    /// A VLEK: the cloud provider gives it with the report.
    FromProvider,
    /// The host masks the chip identifier, so nothing tells which.
    Masked,
    /// The report is not signed, or by an undefined key.
    NotSigned,
    /// Of a processor that is not known here.
    UnknownProcessor,
    /// On the key server, under one of these paths.
    At(Vec<(Generation, String)>),
}

/// A revocation list that a report is judged with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListNeed {
    /// The generation whose root issued it.
    pub generation: Generation,
    /// The kind of chain it is for.
    pub kind: KeyKind,
    /// Its path on the key server.
    pub path: String,
    /// The newest at hand, genuine but not necessarily current.
    pub kept: Option<Crl>,
}

impl ListNeed {
    /// Whether the list at hand can be judged with at this time.
    #[must_use]
    pub fn is_current(&self, at: u64) -> bool {
        self.kept.as_ref().is_some_and(|crl| is_current(crl, at))
    }
}

/// Whether a time lies between a list's dates.
#[must_use]
pub fn is_current(crl: &Crl, at: u64) -> bool {
    // A list without a next update is never current: nothing says until when it speaks for the root
    // (RFC 5280, section 5.1.2.5, wants one in every list).
    crl.this_update <= at && crl.next_update.is_some_and(|next| at <= next)
}

/// What a report needs, and what of it a store has.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub fn needs(store: &Store, report: &Fields) -> Result<Needs, StoreError> {
    let found = store.candidates(report)?;
    let issuers: Vec<_> = found.iter().filter_map(|one| recognise_name(&one.issuer)).collect();
    let kind = report.signing_key().kind().unwrap_or(KeyKind::Vcek);
    // The certificate's issuer names the generation, where a report of version 2 does not.
    let generations = match (report.generation(), issuers.first()) {
        (Some(generation), _) => vec![generation],
        (None, Some((_, role))) => role.generation().into_iter().collect(),
        // Not Venice: no root of it is published, so no server has its lists.
        (None, None) => vec![Generation::Milan, Generation::Genoa, Generation::Turin],
    };
    let mut lists = Vec::new();
    for generation in generations {
        let kept = store.crl(generation, kind)?;
        lists.push(ListNeed { generation, kind, path: list_path(store, generation, kind)?, kept });
    }
    Ok(Needs { vek: vek_need(report, found), lists })
}

fn vek_need(report: &Fields, found: Vec<Certificate>) -> VekNeed {
    if !found.is_empty() {
        return VekNeed::AtHand(found);
    }
    // From what makes asking pointless to what can be asked for.
    match report.signing_key() {
        SigningKey::Vlek => return VekNeed::FromProvider,
        SigningKey::None | SigningKey::Reserved(_) => return VekNeed::NotSigned,
        SigningKey::Vcek if report.chip_key_masked() => return VekNeed::NotSigned,
        SigningKey::Vcek => {}
    }
    if report.chip_id.iter().all(|byte| *byte == 0) {
        return VekNeed::Masked;
    }
    let paths = vcek_paths(report);
    if paths.is_empty() { VekNeed::UnknownProcessor } else { VekNeed::At(paths) }
}

/// Where the list of a kind of chain is: at the distribution point of the newest ASK or ASVK at
/// hand.
fn list_path(store: &Store, generation: Generation, kind: KeyKind) -> Result<String, StoreError> {
    let role = match kind {
        KeyKind::Vcek => Role::Ask(generation),
        KeyKind::Vlek => Role::Asvk(generation),
    };
    let mut roots = builtin();
    // The certificate at hand says where its list is; a newer one may say otherwise than an older.
    for one in store.intermediates()? {
        roots.add_intermediate(one);
    }
    let newest = roots
        .candidates(Authority::Amd, role)
        .max_by_key(|certificate| certificate.validity.not_before);
    Ok(newest.map_or_else(
        || crl_path(generation, kind),
        |certificate| crl_path_of(certificate, generation, kind),
    ))
}

/// Where on AMD's key server a refused report's certificate, chain or list is: what the remedies of
/// its failed checks ask for. A report of version 2 does not tell its generation and has several.
#[must_use]
pub fn addresses(verdict: &Verdict, report: &[u8]) -> Vec<String> {
    let Ok(report) = Report::parse(report) else { return Vec::new() };
    let fields = report.unverified_fields();
    let kind = fields.signing_key().kind().unwrap_or(KeyKind::Vcek);
    let generations = fields.generation().map_or_else(
        || vec![Generation::Milan, Generation::Genoa, Generation::Turin],
        |generation| vec![generation],
    );
    let mut all: Vec<String> = Vec::new();
    // In the order of the failed checks, each address once.
    for wanted in verdict.failures().filter_map(|check| wanted(check.code)) {
        let paths: Vec<String> = match wanted {
            Wanted::Vek => vcek_paths(fields).into_iter().map(|(_, path)| path).collect(),
            Wanted::Chain => generations.iter().map(|one| chain_path(*one, kind)).collect(),
            Wanted::List => generations.iter().map(|one| crl_path(*one, kind)).collect(),
        };
        for address in paths.iter().map(|path| format!("{KEY_SERVER}{path}")) {
            if !all.contains(&address) {
                all.push(address);
            }
        }
    }
    all
}

/// What of the key server's may mend a failed check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Vek,
    Chain,
    List,
}

const fn wanted(code: Code) -> Option<Wanted> {
    match code {
        // The remedies of these checks say "the address shown": this is it.
        Code::VekPresent
        | Code::VekParse
        | Code::VekName
        | Code::VekKey
        | Code::VekExtensions
        | Code::VekSignature
        | Code::VekValidity
        | Code::TcbMatch
        | Code::ChipId
        | Code::ReportSignature => Some(Wanted::Vek),
        Code::IntermediateSignature => Some(Wanted::Chain),
        Code::CrlParse
        | Code::CrlIssuer
        | Code::CrlSignature
        | Code::CrlFreshness
        | Code::CrlRequired => Some(Wanted::List),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Code, wanted};

    /// A remedy that sends to an address is told with one. Cannot tell whether it is the right one.
    #[test]
    fn every_remedy_that_names_an_address_has_one() {
        let mut seen = 0;
        for code in Code::ALL {
            let remedy = code.remedy();
            if remedy.contains("fetch") || remedy.contains("address") {
                assert!(wanted(*code).is_some(), "{code}: {remedy}");
                seen += 1;
            }
        }
        assert!(seen >= 8, "{seen}");
    }
}
