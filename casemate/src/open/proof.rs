//! What a result's evidence proves, link by link: from the chip to the secrets of the workload, for
//! a page that its owner can look at and pass on.
//!
//! A link has passed when it was looked at in this very run: by the verifier, whose checks stand
//! behind it, or by computing its value again from what it is made of. All that was not is "not
//! checked", and says what would check it. No value of a report that its processor has not signed
//! is on the page, but for what a check that failed has to name.

#[cfg(all(feature = "vm", feature = "image"))]
pub(super) mod image;

use crate::attest::print::{CHECKS, check_rows, is_of_report, word};
use crate::html::Page;
use casemate_attestation::hex::encode;
use casemate_attestation::report::{Fields, Report, Verified};
use casemate_attestation::time::format as time;
use casemate_attestation::verify::{
    CHAIN_CHECKS, Check, Code, REVOCATION_CHECKS, Seen, Status, Verdict,
};

/// Passed if that is so, failed otherwise.
const fn of(holds: bool) -> Status {
    if holds { Status::Passed } else { Status::Failed }
}

/// A link of the chain.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) name: &'static str,
    pub(super) state: Status,
    pub(super) value: String,
    /// What was compared with what, or what would have to be.
    pub(super) why: String,
}

impl Link {
    pub(super) fn new(
        name: &'static str,
        state: Status,
        value: impl Into<String>,
        why: impl Into<String>,
    ) -> Self {
        Self { name, state, value: value.into(), why: why.into() }
    }
}

/// A link that checks of the verifier stand behind. Each check stands behind one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// From a root that is built in, or that the caller trusts, to the key of this chip.
    Chip,
    Revocation,
    /// That the report is one, and that this chip signed it.
    Report,
    /// That the guest asked for it for this result.
    Made,
    /// What whoever judges demands: all else.
    Policy,
}

impl Behind {
    fn of(code: Code) -> Self {
        match code {
            // A generation whose root is broken says nothing of chips.
            Code::ChipId | Code::GenerationAllowed => Self::Chip,
            code if CHAIN_CHECKS.contains(&code) => Self::Chip,
            code if REVOCATION_CHECKS.contains(&code) => Self::Revocation,
            code if is_of_report(code) => Self::Report,
            Code::ReportData => Self::Made,
            _ => Self::Policy,
        }
    }
}

fn failed(check: &Check) -> String {
    format!("{}: {}, wanted {}", check.code, check.saw, check.wanted)
}

/// What the checks behind a link come to: failed with any that failed; passed only if every one of
/// them was made, holds, and has no more to say.
fn together(verdict: &Verdict, behind: Behind) -> (Status, String) {
    let ours = || verdict.checks().iter().filter(|check| Behind::of(check.code) == behind);
    if let Some(check) = ours().find(|check| check.status == Status::Failed) {
        return (Status::Failed, failed(check));
    }
    if let Some(check) = ours().find(|check| check.status == Status::NotChecked) {
        return (Status::NotChecked, format!("{}: {}", check.code, check.saw));
    }
    // A check that is in no list was not made, whatever the others say.
    let mut codes = Code::ALL.iter().filter(|code| Behind::of(**code) == behind);
    if let Some(code) = codes.find(|code| !ours().any(|check| check.code == **code)) {
        return (Status::NotChecked, format!("{code} was not made"));
    }
    if let Some(check) = ours().find(|check| check.status == Status::Warning) {
        return (Status::Warning, format!("{}: {}", check.code, check.saw));
    }
    let count = ours().count();
    let checks = if count == 1 { "check" } else { "checks" };
    (Status::Passed, format!("{count} {checks} of the verifier, below"))
}

/// What whoever judges the report demands of it. A rule of the verifier's own refuses whatever a
/// policy says.
fn demanded(verdict: &Verdict, is_signed: bool) -> (Status, String) {
    let mut rules = verdict.failures().filter(|check| Behind::of(check.code) == Behind::Policy);
    match (rules.find(|check| check.code != Code::Policy), verdict.policy()) {
        (Some(check), _) => (Status::Failed, failed(check)),
        (None, Some(policy)) => (of(policy.decision.is_allow()), policy.decision.to_string()),
        (None, None) if is_signed => {
            let why =
                "no isolation policy was asked; what an appraisal demands is among the checks";
            (Status::NotChecked, why.into())
        }
        (None, None) => (Status::NotChecked, "there is no verified report to judge".into()),
    }
}

/// What of an image and its launch the owner has at hand, to be compared with a report.
pub(super) trait Compared {
    /// The links from the launch digest on, of a report that was verified.
    fn links(&self, report: &Fields) -> Vec<Link>;
    /// The names of the same links, of a report that was not.
    fn names(&self) -> Vec<&'static str>;
}

/// Nothing at hand: only what the report says.
pub(super) struct Nothing;

/// What the launch digest is compared with when nothing is.
pub(super) const DIGEST: &str = "launch digest";
const WITH_IMAGE: &str = "compared with nothing but what the policy says: --image computes it \
                          again from kernel, initrd and command line";

impl Compared for Nothing {
    fn links(&self, report: &Fields) -> Vec<Link> {
        let digest = encode(&report.measurement);
        vec![Link::new(DIGEST, Status::NotChecked, digest, WITH_IMAGE)]
    }

    fn names(&self) -> Vec<&'static str> {
        vec![DIGEST]
    }
}

/// Whether a MODEL's root is in it, also of a report that is refused.
fn is_model(verdict: &Verdict) -> bool {
    let pinned = |check: &Check| check.code == Code::ArkPinned && check.status == Status::Warning;
    verdict.is_model() || verdict.checks().iter().any(pinned)
}

/// The whole chain, in order.
pub(super) fn chain(verdict: &Verdict, nonce: &[u8; 32], compared: &dyn Compared) -> Vec<Link> {
    let (chip, why) = together(verdict, Behind::Chip);
    let (revoked, why_revoked) = together(verdict, Behind::Revocation);
    let (signed, why_signed) = together(verdict, Behind::Report);
    let (made, why_made) = together(verdict, Behind::Made);
    let report: Option<&Report<Verified>> = match verdict.report() {
        Seen::Verified(report) => Some(report),
        Seen::Unverified(_) | Seen::Nothing => None,
    };
    let (policy, why_policy) = demanded(verdict, report.is_some());
    let shown = |value: &dyn Fn(&Fields) -> String| {
        report.map_or_else(|| "(not shown: nobody vouches for it)".into(), |r| value(r.fields()))
    };
    let model = if is_model(verdict) { "MODEL, no hardware: " } else { "" };
    let issued = verdict.vek().and_then(|vek| vek.crl_issued);
    let list = issued.map_or_else(String::new, |at| format!("by a list of {}", time(at)));
    let mut links = vec![
        Link::new("chip", chip, format!("{model}{}", shown(&|r| encode(&r.chip_id))), why),
        Link::new("not revoked", revoked, list, why_revoked),
        Link::new("report", signed, shown(&|r| encode(&r.report_id)), why_signed),
        Link::new("made for this result", made, format!("nonce {}", encode(nonce)), why_made),
    ];
    match report {
        Some(report) => links.extend(compared.links(report.fields())),
        None => links.extend(compared.names().into_iter().map(|name| {
            Link::new(name, Status::NotChecked, "", "there is no verified report to compare with")
        })),
    }
    let hash = verdict.policy().map_or_else(String::new, |one| encode(&one.policy));
    links.push(Link::new("release policy", policy, hash, why_policy));
    links
}

const LEAD: &str = "What each link vouches for is the next one. Passed means looked at when this \
    page was made, by the verifier or by computing the value again; not checked means that nobody \
    has, and says who could.";

/// The page.
pub(super) fn page(verdict: &Verdict, at: u64, links: &[Link]) -> String {
    let mut page = Page::default();
    page.section("Verdict", "");
    let row = |name: &str, what: String| vec![name.to_owned(), what];
    let mut rows = vec![row("verdict", verdict.headline()), row("judged as of", time(at))];
    rows.extend(verdict.not_proven_line().map(|open| row("open", open)));
    page.table("Whether this result is its workload's", &["what", "is"], &rows);
    page.section("From the chip to the secrets", LEAD);
    let rows: Vec<Vec<String>> = links
        .iter()
        .map(|link| {
            let Link { name, state, value, why } = link;
            vec![(*name).to_owned(), word(*state).to_owned(), value.clone(), why.clone()]
        })
        .collect();
    page.table("The chain", &["link", "result", "value", "how it is known"], &rows);
    page.section("Every check", "The verifier's, from the report up to the root.");
    page.part(&format!("{} checks", verdict.checks().len()), false, |page| {
        page.table("Every check, from the report up to the root", &CHECKS, &check_rows(verdict));
    });
    let model = if is_model(verdict) { "MODEL: " } else { "" };
    let made = format!(
        "casemate {}, {}",
        env!("CARGO_PKG_VERSION"),
        time(casemate_attestation::time::now())
    );
    page.finish(&format!("{model}What a result proves"), &made)
}

#[cfg(test)]
mod tests {
    use super::{Behind, Code};

    /// Protects from a link that is called passed beside a check of it that is not: none is behind
    /// no link. Cannot tell that a check looks at what its title says.
    #[test]
    fn each_check_stands_behind_the_link_that_it_is_about() {
        for (code, behind) in [
            (Code::VekSignature, Behind::Chip),
            (Code::ChipId, Behind::Chip),
            (Code::GenerationAllowed, Behind::Chip),
            (Code::CrlRevoked, Behind::Revocation),
            (Code::CrlRequired, Behind::Policy),
            (Code::TcbOrder, Behind::Report),
            (Code::AuthorKeyFlag, Behind::Report),
            (Code::ReportSignature, Behind::Report),
            (Code::ReportData, Behind::Made),
            (Code::Measurement, Behind::Policy),
            (Code::PolicyAbi, Behind::Policy),
        ] {
            assert_eq!(Behind::of(code), behind, "{code}");
        }
        let of = |behind| Code::ALL.iter().filter(move |code| Behind::of(**code) == behind).count();
        assert_eq!((of(Behind::Chip), of(Behind::Revocation), of(Behind::Made)), (15, 5, 1));
    }
}
