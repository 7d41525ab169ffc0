//! Whether the root has revoked the certificate between it and the VEK: its lists, each for its
//! signature, its dates and its serials (RFC 5280, section 5).

use super::{Checks, Code};
use crate::cert::{Certificate, Crl, PublicKey};
use crate::crypto::Backend;

/// The lists at hand, and the chain that they are asked about.
pub(super) struct Revocation<'a> {
    pub(super) backend: &'a dyn Backend,
    /// Seconds since 1970 of the judgement.
    pub(super) at: u64,
    pub(super) ark: &'a Certificate,
    /// ASK or ASVK.
    pub(super) intermediate: &'a Certificate,
    /// Lists for this kind of chain, of any root.
    pub(super) own: &'a [Crl],
    /// Lists for the other kind.
    pub(super) others: &'a [Crl],
}

impl Revocation<'_> {
    /// Checks every given list of this root and this kind of chain; gives when the newest of them
    /// was issued. `none` says that there is no list of this kind.
    pub(super) fn check(&self, none: &'static str, checks: &mut Checks) -> Option<u64> {
        const CRL: [Code; 4] =
            [Code::CrlIssuer, Code::CrlSignature, Code::CrlFreshness, Code::CrlRevoked];
        // The other kind's list shows nothing about this chain, unless it is on it: what the root
        // has revoked is revoked, wherever it says so.
        for crl in self.others.iter().filter(|crl| crl.issuer == self.ark.subject) {
            if crl.revokes(&self.intermediate.serial) && list_signed(self.backend, self.ark, crl) {
                self.one_list(crl, checks);
            }
        }
        if self.own.is_empty() {
            // A list of the other kind is at hand, and is told apart from none at all.
            let why = if self.others.is_empty() { "no revocation list given" } else { none };
            checks.skip_missing(&CRL, why);
            return None;
        }
        // Lists of other generations may lie beside it; only this root's are looked at. None of
        // this root where some were given is a failure, not "no list": the caller meant one.
        let mut ours = self.own.iter().filter(|crl| crl.issuer == self.ark.subject).peekable();
        if ours.peek().is_none() {
            checks.fail(
                Code::CrlIssuer,
                "no list of this root among those given",
                "issuer is the ARK",
            );
            checks.skip_missing(&CRL, "the list is another issuer's");
            return None;
        }
        let mut newest = None;
        // All of them, not only the newest: a serial that was once revoked stays revoked, and a
        // list that does not verify is a fault of the input.
        for crl in ours {
            self.one_list(crl, checks);
            newest = newest.max(Some(crl.this_update));
        }
        newest
    }

    /// Signature, dates and serials of one list.
    fn one_list(&self, crl: &Crl, checks: &mut Checks) {
        checks.pass(Code::CrlIssuer, "the root");
        let signed = list_signed(self.backend, self.ark, crl);
        checks.require(Code::CrlSignature, signed, "signature of the root", "valid");
        let this = crate::time::format(crl.this_update);
        match crl.next_update {
            // RFC 5280 (section 5.1.2.5) demands a next update; without it an old list would be
            // current for ever.
            None => checks.fail(Code::CrlFreshness, format!("from {this}, no next update"), "one"),
            Some(next) => checks.require(
                Code::CrlFreshness,
                crl.this_update <= self.at && self.at <= next,
                format!("{this} to {}", crate::time::format(next)),
                format!("to contain {}", crate::time::format(self.at)),
            ),
        }
        let serial = crate::hex::encode(&self.intermediate.serial);
        checks.require(
            Code::CrlRevoked,
            !crl.revokes(&self.intermediate.serial),
            format!("serial {serial}, {} revoked", crl.revoked.len()),
            "not revoked",
        );
    }
}

/// Whether a root signed a revocation list, over the bytes received.
pub(super) fn list_signed(backend: &dyn Backend, root: &Certificate, crl: &Crl) -> bool {
    match &root.key {
        PublicKey::Rsa(key) => backend.rsa_pss(key, crl.tbs(), &crl.signature).is_ok(),
        PublicKey::P384(_) => false,
    }
}
