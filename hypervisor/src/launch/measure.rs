//! The launch digest of a plan, before and without a launch.

use super::issue::{LaunchTarget, issue};
use super::plan::{LaunchPlan, PageKind};
use crate::config::SnpLaunch;
use crate::memory::PAGE_BYTES;
use casemate_attestation::digest::{self, LaunchDigest, VMSA_GPA};
use casemate_diagnostics::event;
use casemate_foreign_text::value;
use sha2::{Digest, Sha384};
use std::convert::Infallible;

/// One page as `measure --explain` lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Guest physical address; of a vCPU's state the firmware's convention.
    pub gpa: u64,
    /// Kind, as the firmware names it.
    pub kind: &'static str,
    /// What it is, for people.
    pub what: String,
    /// SHA-384 of its contents, where the contents are measured.
    pub hash: Option<[u8; 48]>,
}

/// A launch digest and what went into it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measurement {
    /// The launch digest, SHA-384.
    pub digest: [u8; 48],
    /// The pages in the order in which they are launched.
    pub pages: Vec<Measured>,
}

/// The measurement of `plan`; None for a plan without SEV-SNP.
#[must_use]
pub fn measure(plan: &LaunchPlan) -> Option<Measurement> {
    let launch = plan.snp.as_ref()?;
    let mut fold = Fold { digest: LaunchDigest::new(), pages: Vec::new() };
    // The contents of the CPUID page are not measured.
    match issue(plan, launch, &[0; PAGE_BYTES], &mut fold) {
        Ok(pages) => {
            let digest = fold.digest.finish();
            let hex = casemate_attestation::hex::encode(&digest);
            event!(DEBUG, Plan, "the launch is measured", digest = value(&hex), pages = pages);
            Some(Measurement { digest, pages: fold.pages })
        }
        Err(e) => match e {},
    }
}

struct Fold {
    digest: LaunchDigest,
    pages: Vec<Measured>,
}

fn firmware_kind(kind: PageKind) -> digest::PageKind {
    match kind {
        PageKind::Normal => digest::PageKind::Normal,
        PageKind::Zero => digest::PageKind::Zero,
        PageKind::Unmeasured => digest::PageKind::Unmeasured,
        PageKind::Secrets => digest::PageKind::Secrets,
        PageKind::Cpuid => digest::PageKind::Cpuid,
    }
}

impl LaunchTarget for Fold {
    type Error = Infallible;

    fn start(&mut self, _: &SnpLaunch) -> Result<(), Infallible> {
        Ok(())
    }

    fn page(
        &mut self,
        gpa: u64,
        kind: PageKind,
        what: &'static str,
        contents: &[u8; PAGE_BYTES],
    ) -> Result<(), Infallible> {
        self.digest.page(firmware_kind(kind), gpa, contents);
        let hash = (kind == PageKind::Normal).then(|| Sha384::digest(contents).into());
        self.pages.push(Measured { gpa, kind: kind.name(), what: what.into(), hash });
        Ok(())
    }

    fn finish(&mut self, plan: &LaunchPlan, launch: &SnpLaunch) -> Result<(), Infallible> {
        for (id, state) in plan.vcpu_states().enumerate() {
            self.digest.vcpu(&state, launch.vmsa_features);
            let hash = Some(Sha384::digest(state.vmsa_page(launch.vmsa_features)).into());
            let what = format!("state of vCPU {id}");
            self.pages.push(Measured { gpa: VMSA_GPA, kind: "vmsa", what, hash });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::BootState;
    use crate::memory::RamMap;

    /// What a launch was told, as the kernel would see it.
    #[derive(Default)]
    struct Recorder {
        told: Vec<(u64, PageKind, Vec<u8>)>,
        vcpus: u32,
    }
    impl LaunchTarget for Recorder {
        type Error = Infallible;
        fn start(&mut self, _: &SnpLaunch) -> Result<(), Infallible> {
            assert!(self.told.is_empty());
            Ok(())
        }
        fn page(
            &mut self,
            gpa: u64,
            kind: PageKind,
            _: &'static str,
            c: &[u8; 4096],
        ) -> Result<(), Infallible> {
            self.told.push((gpa, kind, c.to_vec()));
            Ok(())
        }
        fn finish(&mut self, plan: &LaunchPlan, _: &SnpLaunch) -> Result<(), Infallible> {
            self.vcpus = plan.vcpus;
            Ok(())
        }
    }

    fn plan(vcpus: u32, seed: u8) -> LaunchPlan {
        let boot = BootState { rip: 0x1_0000, rsp: 0x2_8000, rsi: 0x4000, cr3: 0x1000 };
        let mut plan = LaunchPlan::new(RamMap::new(64 << 20).unwrap(), vcpus, boot);
        plan.snp = Some(crate::config::SnpLaunch {
            policy: 0x3_0000,
            host_data: [0; 32],
            id: None,
            author_key_enabled: false,
            vcek_disabled: false,
            vmsa_features: u64::from(seed & 1) << 5,
            c_bit: 51,
            expect_digest: None,
            certs: None,
            page_limits: casemate_policy::Policy::builtin_strict().page_state_limits(),
        });
        plan.add_pages("tables", PageKind::Normal, 0x1000, vec![seed; 12288]).unwrap();
        plan.add_pages("zero", PageKind::Zero, 0x8000, vec![]).unwrap();
        plan.add_pages("cpuid", PageKind::Cpuid, 0x5000, vec![]).unwrap();
        plan.add_pages("secrets", PageKind::Secrets, 0x6000, vec![]).unwrap();
        plan.add_pages("notes", PageKind::Unmeasured, 0x7000, vec![seed]).unwrap();
        plan.add_pages("boot code", PageKind::Normal, 0x1_0000, vec![seed ^ 0x5a; 20000]).unwrap();
        plan
    }

    #[test]
    fn digest_of_the_plan_is_that_of_what_a_launch_is_told() {
        for seed in 0..20 {
            let plan = plan(u32::from(seed % 4) + 1, seed);
            let mut recorder = Recorder::default();
            let launch = plan.snp.as_ref().unwrap();
            // The host's CPUID table must not matter.
            let pages = issue(&plan, launch, &[seed; 4096], &mut recorder).unwrap();
            let mut digest = LaunchDigest::new();
            for (gpa, kind, contents) in &recorder.told {
                digest.page(firmware_kind(*kind), *gpa, contents[..].try_into().unwrap());
            }
            for state in plan.vcpu_states().take(recorder.vcpus as usize) {
                digest.vcpu(&state, launch.vmsa_features);
            }
            let measurement = measure(&plan).unwrap();
            assert_eq!(measurement.digest, digest.finish());
            assert_eq!(measurement.pages.len() as u64, pages);
        }
    }

    #[test]
    fn every_part_of_a_plan_changes_the_digest() {
        let digest = |plan: &LaunchPlan| measure(plan).unwrap().digest;
        let base = digest(&plan(1, 0));
        assert_ne!(base, digest(&plan(2, 0)), "vCPUs");
        assert_ne!(base, digest(&plan(1, 2)), "contents");
        let mut other = plan(1, 0);
        other.boot.rip += 1;
        assert_ne!(base, digest(&other), "registers");
        let mut other = plan(1, 0);
        if let Some(snp) = &mut other.snp {
            snp.vmsa_features = 1 << 5;
        }
        assert_ne!(base, digest(&other), "features");
    }
}
