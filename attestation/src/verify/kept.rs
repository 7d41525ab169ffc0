//! Whether a kept chain still holds under the verifier that uses it.
//!
//! Principle: a cache expires with the first of all it rests on. A [`VerifiedVek`] rests on
//! certificates, on revocation lists and on a root that was trusted; its window ends with the
//! shortest of the former, and a verifier that knows a list the chain was not judged with, or that
//! does not trust the root, refuses it. So a verdict under a kept chain is never better than the
//! one from the start.

use super::chain::VerifiedVek;
use super::{Checks, Code, Verifier};

impl Verifier {
    pub(super) fn still_holds(&self, vek: &VerifiedVek, checks: &mut Checks) {
        const ANEW: &str = "a chain that is verified anew";
        // Each of the four is looked at, whatever failed before: certificates and lists by the
        // window, the root, damaged lists, lists that are new.
        if !vek.window.contains(self.at) {
            let (from, to) = (vek.window.not_before, vek.window.not_after);
            let saw = format!(
                "kept chain valid {} to {}",
                crate::time::format(from),
                crate::time::format(to)
            );
            let at = crate::time::format(self.at);
            checks.fail(Code::VekValidity, saw, format!("to contain {at}"));
        }
        // The very anchor, key and generation, not only some trusted root: this verifier may trust
        // fewer than the one that made the chain.
        let trusted = self.roots.anchors().any(|anchor| *anchor == vek.rests_on.anchor);
        if !trusted {
            let saw = "the kept chain ends in a root that is not trusted here";
            checks.fail(Code::ArkPinned, saw, ANEW);
        }
        for fault in &self.damaged_crls {
            checks.fail(Code::CrlParse, fault.clone(), "a DER revocation list");
        }
        // A signature names a list: two lists under one signature say the same.
        let known = |signature: &Vec<u8>| vek.rests_on.lists.contains(signature);
        let lists = self.crls.iter().chain(&self.vlek_crls);
        let mut ours = lists.filter(|crl| crl.issuer == vek.rests_on.root_name);
        if let Some(new) = ours.find(|crl| !known(&crl.signature)) {
            let issued = crate::time::format(new.this_update);
            let saw =
                format!("the list of {issued} was not there when the kept chain was verified");
            checks.fail(Code::CrlFreshness, saw, ANEW);
        }
    }
}
