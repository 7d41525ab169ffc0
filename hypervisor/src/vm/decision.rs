//! What the policy says of a VM before it has a guest: at every point that the policy's
//! own table of who asks what gives to `casemate run`.
//!
//! An error is a denial. A fact that cannot be told is left out, which every rule but `any` denies.

use super::open_devices::OpenDevices;
use super::recorder::{Recorder, RecorderError};
use crate::config::{
    ConsoleTo, ForeignKind, IdBlock, LaunchPolicy, Protection, SnpLaunch, VmConfig,
};
use crate::host::HostFacts;
use crate::host::cgroup::{self, CgroupLimits};
use crate::launch::LaunchPlan;
use crate::launch::measure::measure;
use casemate_attestation::idblock;
use casemate_diagnostics::event;
use casemate_foreign_text::{line, value};
use casemate_policy::log::{DecisionRecord, DenialsRecord};
use casemate_policy::{Decision, Fact, Facts, Key, Point, Policy, RuntimeRule};
use rustix::process::{Resource, getrlimit};
use std::path::{Path, PathBuf};

/// Why a VM is not started.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    /// The policy document cannot be used.
    #[error("{}", line(.0))]
    Policy(String),
    /// The policy denies the VM.
    #[error("the policy denies this VM: {}", line(.0))]
    Denied(String),
    /// A decision cannot be logged.
    #[error("the policy's decision cannot be logged, so no guest is started: {0}")]
    Log(#[from] RecorderError),
}

/// Largest policy document, as its reader has it: 4 MiB.
const MAX_POLICY: u64 = casemate_policy::document::MAX_DOCUMENT as u64;

/// A policy, and the SHA-256 of its document as it was read; none of a built-in one, which lies in
/// nobody's initdata.
pub(super) struct Asked {
    pub(super) policy: Policy,
    pub(super) document: LaunchPolicy,
}

/// The policy for a VM: the document given, `builtin:strict` and `builtin:permissive`
/// among them, or the built-in one for its protection.
///
/// # Errors
/// [`DecisionError::Policy`] when the document cannot be read or is wrong: then nothing starts.
pub(super) fn policy_for(
    config: &VmConfig,
    document: Option<&Path>,
) -> Result<Asked, DecisionError> {
    let built_in = |policy| Asked { policy, document: None };
    let Some(path) = document else {
        return Ok(built_in(match config.protection {
            Protection::SevSnp => Policy::builtin_strict(),
            Protection::None => Policy::builtin_permissive(),
        }));
    };
    if let Some(policy) = path.to_str().and_then(Policy::builtin) {
        return Ok(built_in(policy));
    }
    let text = casemate_files::read_input_text(path, MAX_POLICY)
        .map_err(|error| DecisionError::Policy(format!("--policy: {error}")))?;
    let policy = Policy::load(&text, &path.display().to_string())
        .map_err(|e| DecisionError::Policy(e.to_string().trim_end().replace('\n', "; ")))?;
    Ok(Asked { policy, document: Some(casemate_initdata::host_data(text.as_bytes())) })
}

/// Asks the policy at every point that comes before a start. Each decision is in the log before it
/// is acted on; after the last one others may have the log.
///
/// # Errors
/// [`DecisionError::Denied`] with the rules that deny; [`DecisionError::Log`] when a decision
/// cannot be logged, which is then not acted on.
pub(super) fn decide(
    asked: &Asked,
    config: &VmConfig,
    plan: &LaunchPlan,
    (devices, limits): (&OpenDevices, Option<CgroupLimits>),
    mut recorder: Option<&mut Recorder>,
) -> Result<(), DecisionError> {
    let policy = &asked.policy;
    event!(DEBUG, Policy, "the policy is read", name = value(policy.name()));
    let mut denied = None;
    for point in Point::ALL.into_iter().filter(|point| is_asked(*point, config)) {
        let facts = facts_at(point, asked.document, config, plan, (devices, limits));
        let Some(facts) = facts else { continue };
        let decision = policy.decide(point, &facts);
        if let Some(recorder) = &mut recorder {
            let hash = policy.hash();
            recorder.decision(DecisionRecord::new(hash, point, &facts, &decision))?;
        }
        let (point_name, verdict) = (point.name(), decision.verdict.name());
        event!(DEBUG, Policy, "the policy decides", point = point_name, verdict = verdict);
        if !decision.is_allow() {
            // What was found is not told: a command line may hold secrets. The decision log has it,
            // less those, and the user is told.
            let rules = decision.reasons.iter().map(|reason| reason.rule.as_str());
            let rules = rules.collect::<Vec<_>>().join(" ");
            event!(WARN, Policy, "the policy denies the VM", rules = value(&rules));
            denied = Some(DecisionError::Denied(denial(point, &decision)));
            break;
        }
    }
    if let Some(recorder) = recorder {
        for rule in RuntimeRule::ALL {
            recorder.may_be_denied(DenialsRecord::none_yet(policy, rule, &config.name))?;
        }
        recorder.release()?;
    }
    if denied.is_none() {
        event!(INFO, Policy, "the policy admits the VM", name = value(policy.name()));
    }
    denied.map_or(Ok(()), Err)
}

/// Whether a policy is asked at this point before a VM starts. What a guest may reach over the
/// network is else asked by the processes of its network devices, each time; a program of others
/// asks nobody.
pub(super) fn is_asked(point: Point, config: &VmConfig) -> bool {
    let by_nobody = config.foreign.iter().any(|one| matches!(one.kind, ForeignKind::Net { .. }));
    point.is_asked_at_start() || by_nobody && matches!(point, Point::Egress | Point::EgressRate)
}

/// What is to be decided at a point of the policy with this document; `None` where this VM has
/// nothing to be decided about.
pub(super) fn facts_at(
    point: Point,
    document: LaunchPolicy,
    config: &VmConfig,
    plan: &LaunchPlan,
    (devices, limits): (&OpenDevices, Option<CgroupLimits>),
) -> Option<Facts> {
    let confidential = config.protection == Protection::SevSnp;
    Some(match point {
        Point::Host => HostFacts::take().facts(confidential),
        Point::Launch => launch_facts(document, config, plan),
        Point::Resources => resource_facts(config, devices, limits),
        Point::Devices => devices.facts(),
        Point::Access => access_facts(config, plan),
        // KVM hands a guest's requests to the firmware without an exit, so how many there are
        // nobody can tell: no fact. Without protection there is no security processor to send them
        // to.
        Point::GuestRequest if !confidential => return None,
        // Of connections to come nothing is known. And a point that the table gives to `casemate
        // run` and that is not here yet: every rule but `any` refuses instead of being forgotten.
        _ => Facts::new(),
    })
}

/// A denial in the words of the policy, and what to do where this version cannot keep a rule.
pub(super) fn denial(point: Point, decision: &Decision) -> String {
    match point {
        Point::Host => format!("{decision}; see `casemate host`"),
        Point::GuestRequest => format!(
            "{decision}; this version cannot count these requests: only \"any\" can be kept"
        ),
        Point::Egress | Point::EgressRate => format!(
            "{decision}; a network device that another program serves (`vhost_user`) keeps no \
             such rule: only \"any\" can be kept"
        ),
        _ => decision.to_string(),
    }
}

/// What the host may do to the guest once it runs: what this configuration makes possible at most.
fn access_facts(config: &VmConfig, plan: &LaunchPlan) -> Facts {
    // Guest policy, AMD 56860, "Guest policy structure": with bit 19 the firmware decrypts pages
    // for the host, with bit 18 a migration agent may take the guest along.
    let may = |bit: u32| plan.snp.as_ref().is_some_and(|launch| launch.policy & 1 << bit != 0);
    // A file is written to; whatever else there is can be typed at.
    let console =
        if matches!(config.console.to, ConsoleTo::File(_)) { "output" } else { "interactive" };
    Facts::new()
        .text(Key::AccessConsole, console)
        .text(Key::AccessDebug, if may(19) { "full" } else { "none" })
        .flag(Key::AccessSnapshot, false)
        .flag(Key::AccessMigration, may(18))
}

/// What a writer that was killed had left in the decision log, and is there no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRepair {
    /// The log's file, as it was named.
    pub path: PathBuf,
    /// Bytes of the torn last line.
    pub dropped: u64,
}

fn launch_facts(document: LaunchPolicy, config: &VmConfig, plan: &LaunchPlan) -> Facts {
    let user = format!("uid-{}", rustix::process::getuid().as_raw());
    let facts = Facts::new()
        .text(Key::LaunchProtection, &config.protection.to_string())
        .text(Key::LaunchTenant, &user)
        .command_line(&config.cmdline)
        .bytes(Key::LaunchKernel, &plan.files.kernel)
        // Without an initrd the policy's word for it is `unset`: zeros.
        .bytes(Key::LaunchInitrd, &plan.files.initrd);
    match (&plan.snp, measure(plan)) {
        (Some(launch), Some(measurement)) => {
            let facts = snp_facts(facts.bytes(Key::LaunchMeasurement, &measurement.digest), launch);
            of_this_document(facts, document, config.launch_policy)
        }
        _ => facts,
    }
}

/// With the fact that HOST_DATA is the hash of an initdata that holds the document asked, byte for
/// byte, where it is so: the hash stands for it otherwise, as it does for any other initdata.
fn of_this_document(facts: Facts, document: LaunchPolicy, in_initdata: LaunchPolicy) -> Facts {
    match (document, in_initdata) {
        (Some(asked), Some(held)) if asked == held => facts.host_data_of_this_document(),
        _ => facts,
    }
}

fn snp_facts(facts: Facts, launch: &SnpLaunch) -> Facts {
    let facts = facts
        .number(Key::LaunchGuestPolicy, launch.policy)
        .bytes(Key::LaunchHostData, &launch.host_data);
    match &launch.id {
        // Without an ID block a report has zeros there.
        None => facts
            .bytes(Key::LaunchIdKey, &[0; 48])
            .bytes(Key::LaunchAuthorKey, &[0; 48])
            .bytes(Key::LaunchFamily, &[0; 16])
            .bytes(Key::LaunchImage, &[0; 16])
            .number(Key::LaunchGuestSvn, 0),
        Some(id) => id_facts(facts, id, launch.author_key_enabled),
    }
}

/// What an ID block says, and whose keys vouch for it. With signatures that do not hold no key
/// vouches for anything.
fn id_facts(mut facts: Facts, id: &IdBlock, author_enabled: bool) -> Facts {
    let parsed = idblock::IdBlock::parse(&id.block);
    match parsed.and_then(|block| Ok((block, idblock::check(&id.block, &id.auth, author_enabled)?)))
    {
        Ok((block, keys)) => facts
            .bytes(Key::LaunchIdKey, &keys.id_key)
            .bytes(Key::LaunchAuthorKey, &keys.author_key.unwrap_or([0; 48]))
            .bytes(Key::LaunchFamily, &block.family_id)
            .bytes(Key::LaunchImage, &block.image_id)
            .number(Key::LaunchGuestSvn, u64::from(block.guest_svn)),
        Err(error) => {
            for key in ID_KEYS {
                facts.set(key, Fact::Invalid(format!("ID block: {error}").into()));
            }
            facts
        }
    }
}

/// The facts of an ID block.
const ID_KEYS: [Key; 5] = [
    Key::LaunchIdKey,
    Key::LaunchAuthorKey,
    Key::LaunchFamily,
    Key::LaunchImage,
    Key::LaunchGuestSvn,
];

/// What the VM costs its host. `limits` are those of the control group that its processes begin in,
/// where that is not this program's own.
fn resource_facts(config: &VmConfig, devices: &OpenDevices, limits: Option<CgroupLimits>) -> Facts {
    let facts = match limits.or_else(cgroup::limits) {
        None => Facts::new(),
        Some(limits) => Facts::new()
            .number(Key::ResourcesCpuPercent, limits.cpu_percent)
            .number(Key::ResourcesCgroupMemory, limits.memory_mib)
            .number(Key::ResourcesPids, limits.pids),
    };
    let open_files = getrlimit(Resource::Nofile).current;
    devices
        .costs(facts)
        .number(Key::ResourcesOpenFiles, open_files.unwrap_or(cgroup::UNLIMITED))
        .number(Key::ResourcesVcpus, u64::from(config.vcpus))
        .number(Key::ResourcesMemory, config.memory >> 20)
        .flag(Key::ResourcesHugePages, false)
        .flag(Key::ResourcesPinned, false)
}

#[cfg(test)]
mod tests {
    use super::{Facts, ID_KEYS, IdBlock, Key, id_facts, of_this_document};
    use casemate_attestation::idblock;
    use casemate_policy::Fact;

    /// Only the very document makes the fact; of every other one HOST_DATA is the bytes that it is.
    #[test]
    fn host_data_is_of_this_document_when_initdata_holds_it_byte_for_byte() {
        let bytes = || Facts::new().bytes(Key::LaunchHostData, &[3; 32]);
        let own = Facts::new().host_data_of_this_document();
        assert_eq!(of_this_document(bytes(), Some([1; 32]), Some([1; 32])), own);
        for (document, held) in [
            (Some([1; 32]), Some([2; 32])),
            (None, None),
            (Some([1; 32]), None),
            (None, Some([1; 32])),
        ] {
            assert_eq!(of_this_document(bytes(), document, held), bytes());
        }
    }

    #[test]
    fn an_id_block_names_the_keys_that_vouch_for_it_and_none_when_a_signature_does_not_hold() {
        let key = idblock::OwnerKey::generate().unwrap();
        let block = idblock::IdBlock {
            launch_digest: [1; 48],
            family_id: [2; 16],
            image_id: [3; 16],
            guest_svn: 4,
            policy: 0x30000,
        };
        let auth = idblock::authenticate(&block, &key, Some(&key)).unwrap();
        let mut id = IdBlock { block: block.to_bytes().to_vec(), auth: auth.to_vec() };
        let expected = |author: &[u8]| {
            Facts::new()
                .bytes(Key::LaunchIdKey, &key.digest())
                .bytes(Key::LaunchAuthorKey, author)
                .bytes(Key::LaunchFamily, &[2; 16])
                .bytes(Key::LaunchImage, &[3; 16])
                .number(Key::LaunchGuestSvn, 4)
        };
        assert_eq!(id_facts(Facts::new(), &id, true), expected(&key.digest()));
        assert_eq!(id_facts(Facts::new(), &id, false), expected(&[0; 48]));
        id.block[84] ^= 1;
        let facts = id_facts(Facts::new(), &id, true);
        assert!(ID_KEYS.iter().all(|key| matches!(facts.get(*key), Some(Fact::Invalid(_)))));
    }
}
