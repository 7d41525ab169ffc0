//! The policy's decision before a VM is started: launch, resources, devices.
//!
//! The gate is asked once the plan exists, so that what it judges are the very bytes that will be staged and
//! that the shim checks. What the supervisor does not know (the launch digest, the signers of an ID block,
//! limits of a control group) is not in the input: every rule but `any` denies it.

use crate::config::{Protection, VmConfig};
use crate::decision_log::{DecisionLog, LogError};
use crate::launch::LaunchPlan;
use policy::{Decision, Facts, Key, Point, Policy};
use sha2::{Digest, Sha256};

/// Why the gate stays shut.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The policy says no.
    #[error("policy {policy:?} does not admit this VM: {point}: {decision}")]
    Denied {
        /// The policy's name.
        policy: String,
        /// The decision point.
        point: Point,
        /// The decision with its reasons.
        decision: Decision,
    },
    /// A decision that cannot be logged is not acted on.
    #[error("the decision cannot be logged, so the VM is not started: {0}")]
    Log(#[from] LogError),
}

/// A policy, who asks, and where decisions are logged.
#[derive(Debug)]
pub struct Gate {
    policy: Policy,
    tenant: Option<String>,
    log: Option<DecisionLog>,
}

impl Gate {
    /// A gate with the policy, or with the built-in one for the protection.
    #[must_use]
    pub fn new(
        policy: Option<Policy>,
        protection: Protection,
        tenant: Option<String>,
        log: Option<DecisionLog>,
    ) -> Self {
        let policy = policy.unwrap_or_else(|| match protection {
            Protection::None => Policy::builtin_permissive(),
            Protection::SevSnp => Policy::builtin_strict(),
        });
        Self { policy, tenant, log }
    }

    /// Asks at every point, logs every decision, and closes the log. Returns what was asked, for the timeline.
    ///
    /// # Errors
    /// [`GateError`] at the first point that denies, or when a decision cannot be logged.
    pub fn decide(mut self, config: &VmConfig, plan: &LaunchPlan) -> Result<String, GateError> {
        let hash = self.policy.hash();
        let facts = facts(config, plan, self.tenant.as_deref());
        let mut denied = None;
        for point in [Point::Launch, Point::Resources, Point::Devices] {
            let decision = self.policy.decide(point, &facts);
            if let Some(log) = &mut self.log {
                log.decision(hash, point, &facts, &decision)?;
            }
            if !decision.is_allow() {
                denied = Some((point, decision));
                break;
            }
        }
        if let Some(log) = self.log.take() {
            log.close()?;
        }
        let name = self.policy.name();
        match denied {
            Some((point, decision)) => {
                Err(GateError::Denied { policy: name.to_owned(), point, decision })
            }
            None => Ok(format!("policy: {name:?} ({:.16}) admits", self.policy.hash_hex())),
        }
    }
}

/// What is known of a VM before it is started.
fn facts(config: &VmConfig, plan: &LaunchPlan, tenant: Option<&str>) -> Facts {
    let staged = |what: &str| plan.staging().iter().find(|staged| staged.what == what);
    let sha256 = |what: &str| staged(what).map_or([0; 32], |s| Sha256::digest(&s.bytes).into());
    let mut facts = Facts::new()
        .text(Key::LaunchProtection, &config.protection.to_string())
        .bytes(Key::LaunchKernel, &sha256("kernel"))
        .bytes(Key::LaunchInitrd, &sha256("initrd"))
        .texts(Key::LaunchCmdline, config.cmdline.split_ascii_whitespace())
        .number(Key::ResourcesVcpus, u64::from(config.vcpus))
        .number(Key::ResourcesMemory, config.memory >> 20)
        .numbers(Key::ResourcesDisk, [])
        .number(Key::ResourcesDiskTotal, 0)
        .number(Key::ResourcesQueues, 0)
        .flag(Key::ResourcesHugePages, false)
        .flag(Key::ResourcesPinned, false)
        .devices(&[]);
    if let Some(tenant) = tenant {
        facts = facts.text(Key::LaunchTenant, tenant);
    }
    if let Some(snp) = &config.snp {
        facts = facts
            .number(Key::LaunchGuestPolicy, snp.policy)
            .bytes(Key::LaunchHostData, &snp.host_data);
        if snp.id.is_none() {
            // Without an ID block the firmware reports zeros.
            facts = facts
                .bytes(Key::LaunchIdKey, &[0; 48])
                .bytes(Key::LaunchAuthorKey, &[0; 48])
                .bytes(Key::LaunchFamily, &[0; 16])
                .bytes(Key::LaunchImage, &[0; 16])
                .number(Key::LaunchGuestSvn, 0);
        }
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RawConfig;
    use crate::decision_log::HeadPolicy;
    use crate::kvm::BootState;
    use crate::memory::RamMap;

    const OPEN: &str = include_str!("../../../policy/src/builtin/permissive.toml");

    fn vm() -> (VmConfig, LaunchPlan) {
        let raw = RawConfig {
            name: Some("gate".into()),
            kernel: Some("kernel".into()),
            cmdline: Some("console=ttyS0 panic=-1".into()),
            memory: Some("256M".into()),
            protection: Some("none".into()),
            ..RawConfig::default()
        };
        let boot = BootState { rip: 0, rsp: 0, rsi: 0, cr3: 0 };
        let mut plan = LaunchPlan::new(RamMap::new(1 << 20).unwrap(), 1, boot);
        plan.stage("kernel", 0x1000, b"kernel".to_vec()).unwrap();
        (raw.validate().unwrap(), plan)
    }

    fn decide(policy: Option<&str>, tenant: Option<&str>) -> Result<String, GateError> {
        let (config, plan) = vm();
        let policy = policy.map(|text| Policy::load(text, "p").unwrap());
        Gate::new(policy, config.protection, tenant.map(Into::into), None).decide(&config, &plan)
    }

    #[test]
    fn without_a_policy_the_built_in_one_decides_and_is_named() {
        let said = decide(None, None).unwrap();
        assert!(said.contains("built-in permissive"), "{said}");
    }

    #[test]
    fn the_kernel_that_is_staged_is_the_one_that_is_judged() {
        let with = |hash: &str| {
            let line = format!("kernel = [\"{hash}\"]\ninitrd = [\"unset\"]");
            OPEN.replacen("kernel = \"any\"\ninitrd = \"any\"", &line, 1)
                .replace("cmdline_allow = \"any\"", "cmdline_allow = [\"console=*\", \"panic=-1\"]")
        };
        let right: [u8; 32] = Sha256::digest(b"kernel").into();
        let [right, wrong] = [right, [7; 32]].map(|hash| with(&policy::lattice::hex(&hash)));
        assert_ne!(right, OPEN);
        // The host section has a `kernel` too: only the launch section's may have been replaced.
        assert!(Policy::load(&right, "p").unwrap().rule("host.kernel").unwrap().is_any());
        decide(Some(&right), None).unwrap();
        let denied = decide(Some(&wrong), None).unwrap_err().to_string();
        assert!(denied.contains("launch.kernel: found"), "{denied}");
    }

    #[test]
    fn what_is_not_known_is_denied() {
        let text = OPEN.replace("tenants = \"any\"", "tenants = [\"acme\"]");
        let denied = decide(Some(&text), None).unwrap_err().to_string();
        assert!(denied.contains("launch.tenants: not in the input"), "{denied}");
        assert!(decide(Some(&text), Some("mallory")).is_err());
        decide(Some(&text), Some("acme")).unwrap();
        let text = OPEN.replace("measurement = \"any\"", "measurement = [\"unset\"]");
        assert!(decide(Some(&text), None).is_err());
    }

    #[test]
    fn resources_are_judged_and_every_decision_is_logged() {
        let text = OPEN.replace("\nmemory_mib = \"any\"", "\nmemory_mib = { min = 1, max = 255 }");
        let path = std::env::temp_dir().join(format!("casemate-gate-{}.log", std::process::id()));
        let (log, _) = DecisionLog::open(&path, None, HeadPolicy::default()).unwrap();
        let (config, plan) = vm();
        let policy = Policy::load(&text, "p").unwrap();
        let gate = Gate::new(Some(policy), config.protection, None, Some(log));
        let denied = gate.decide(&config, &plan).unwrap_err().to_string();
        assert!(denied.contains("resources: deny: resources.memory_mib: found 256"), "{denied}");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let decisions: Vec<&str> = text.lines().filter(|l| l.contains("\"decision\"")).collect();
        assert_eq!(decisions.len(), 2, "launch allowed, resources denied, devices not asked");
    }
}
