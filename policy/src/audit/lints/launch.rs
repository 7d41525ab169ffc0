//! `[launch]`: guests that nobody meant to start.

use super::{Lint, lint};
use crate::audit::Level::{Error, Note, Warning};
use crate::audit::danger::{Ask, Bad, Witness};
use crate::audit::strangers;
use crate::fact::Fact;
use crate::fields::Key;
use crate::lattice::Bytes;

pub(super) const DEBUG: &str =
    "a guest with debugging is admitted: the host can read all of its memory";
pub(super) const MIGRATE: &str =
    "a guest with a migration agent is admitted: the agent can copy its memory away";
pub(super) const SMT: &str = "a guest on a core shared with a sibling thread is admitted";
pub(super) const SOFTWARE: &str =
    "any software at all is admitted: neither launch digest nor signer is pinned";
pub(super) const SIGNED: &str = "no launch digest is pinned; the signer's key decides alone";
pub(super) const AUTHOR: &str =
    "an identity key is pinned, but not the author key that vouches for it";
pub(super) const ZERO: &str =
    "a digest of zeros is admitted: what stands where nothing was measured";
pub(super) const SVN: &str =
    "the signer's key decides alone, and every old image that it ever signed is admitted";
const TENANTS: &str = "users that nobody listed may launch guests";
const DEBUG_IMAGE: &str = "a DEBUG image is admitted: what it says on its console the host reads";
const OWN_HASH: &str =
    "`initdata` stands beside hashes, which a document that lies in initdata cannot list of itself";
const HOST_DATA: &str = "the guest need not be bound to the policy that it is started under";

/// The word that `casemate image build --debug` puts on the command line, and no other image has.
const DEBUG_WORD: &str = "casemate.debug";

/// The facts on the software of a guest, which a launch and a report both have.
pub(super) struct Image {
    pub(super) measurement: Key,
    pub(super) id_key: Key,
    pub(super) author_key: Key,
    pub(super) guest_svn: Key,
}

const IMAGE: Image = Image {
    measurement: Key::LaunchMeasurement,
    id_key: Key::LaunchIdKey,
    author_key: Key::LaunchAuthorKey,
    guest_svn: Key::LaunchGuestSvn,
};

impl Image {
    /// Software that nobody listed, signed by nobody or by somebody that nobody listed.
    pub(super) fn any_software(&self, ask: &Ask<'_>) -> Option<Witness> {
        let unlisted = (self.measurement, strangers::digest(48));
        ask.all(&[unlisted, (self.id_key, strangers::digest_or_unset(48))])
    }

    /// Software that nobody listed; who may have signed it is pinned.
    pub(super) fn signer_decides(&self, ask: &Ask<'_>) -> Option<Witness> {
        // Any software is the graver finding; this one is what is left when that does not hold.
        if self.any_software(ask).is_some() {
            return None;
        }
        ask.all(&[(self.measurement, strangers::digest(48))])
    }

    /// Zeros in a list of digests. Where strangers are admitted they are one stranger more.
    pub(super) fn zeros(&self, ask: &Ask<'_>) -> Option<Witness> {
        zeros(ask, self.measurement, 48)
    }

    /// An author key that nobody listed, while identity keys are listed.
    pub(super) fn any_author(&self, ask: &Ask<'_>) -> Option<Witness> {
        if ask.admits(self.id_key, &strangers::digest(48)) {
            return None;
        }
        // Where only `unset` is admitted there is no ID block, and no author of it.
        let zero = crate::lattice::Bytes::zero(48);
        let signed = crate::lattice::ByteSet::except(vec![zero]);
        let signed = Bad::Within(crate::rule::Rule::Bytes(signed));
        if !ask.admits(self.id_key, &signed) && ask.admits(self.id_key, &strangers::zeros(48)) {
            return None;
        }
        ask.all(&[(self.author_key, strangers::digest(48))])
    }

    /// The first version of an image, where the signer's key decides alone.
    pub(super) fn any_age(&self, ask: &Ask<'_>) -> Option<Witness> {
        self.signer_decides(ask)?;
        ask.all(&[(self.measurement, strangers::digest(48)), (self.guest_svn, Bad::up_to(0))])
    }
}

/// Zeros in a list of digests that names what it admits.
pub(super) fn zeros(ask: &Ask<'_>, key: Key, len: u8) -> Option<Witness> {
    if ask.admits(key, &strangers::digest(len)) {
        return None;
    }
    ask.all(&[(key, strangers::zeros(len))])
}

/// A listed hash, where the document says that it lies in the initdata whose hash it would be.
/// Under it another initdata is admitted beside the own one, which nobody can have meant.
fn own_hash(ask: &Ask<'_>) -> Option<Witness> {
    let (initdata, stranger) = (strangers::own_initdata(), strangers::digest(32));
    if !ask.admits(Key::LaunchHostData, &initdata) || ask.admits(Key::LaunchHostData, &stranger) {
        return None;
    }
    let listed = ask.own_rules().filter_map(|rule| match rule {
        crate::rule::Rule::Bytes(set) => Some(set.members()),
        _ => None,
    });
    let hash = |bytes: &&Bytes| **bytes != Bytes::INITDATA && **bytes != Bytes::zero(32);
    let hashes: Vec<Fact> = listed.flatten().filter(hash).copied().map(Fact::Bytes).collect();
    ask.own(Bad::One(hashes))
}

pub(super) const LINTS: &[Lint] = &[
    lint("CM001", Error, "launch.guest_policy", |ask| ask.own(Bad::set(19)), DEBUG),
    lint("CM002", Error, "launch.guest_policy", |ask| ask.own(Bad::set(18)), MIGRATE),
    lint("CM003", Warning, "launch.guest_policy", |ask| ask.own(Bad::set(16)), SMT),
    lint("CM004", Error, "launch.measurement", |ask| IMAGE.any_software(ask), SOFTWARE),
    lint("CM005", Note, "launch.measurement", |ask| IMAGE.signer_decides(ask), SIGNED),
    lint(
        "CM018",
        Warning,
        "launch.host_data",
        |ask| ask.own(strangers::digest_or_unset(32)),
        HOST_DATA,
    ),
    lint(
        "CM020",
        Warning,
        "launch.protection",
        |ask| ask.own(Bad::index(1)),
        "guests without protection are admitted",
    ),
    lint("CM021", Warning, "launch.tenants", |ask| ask.own(strangers::caller(ask)), TENANTS),
    lint("CM022", Warning, "launch.author_key", |ask| IMAGE.any_author(ask), AUTHOR),
    lint(
        "CM023",
        Warning,
        "launch.cmdline_allow",
        |ask| ask.own(strangers::word()),
        "words of the kernel command line that nobody listed are admitted",
    ),
    lint(
        "CM024",
        Warning,
        "launch.cmdline_allow",
        |ask| ask.own(strangers::takeover()),
        "a kernel command line that gives the guest away, or takes its defences away, is admitted",
    ),
    lint(
        "CM027",
        Warning,
        "launch.cmdline_allow",
        |ask| ask.own(Bad::texts([DEBUG_WORD])),
        DEBUG_IMAGE,
    ),
    lint("CM028", Error, "launch.host_data", own_hash, OWN_HASH),
    lint("CM025", Warning, "launch.measurement", |ask| IMAGE.zeros(ask), ZERO),
    lint("CM025", Warning, "launch.kernel", |ask| zeros(ask, Key::LaunchKernel, 32), ZERO),
    lint("CM026", Warning, "launch.guest_svn", |ask| IMAGE.any_age(ask), SVN),
];
