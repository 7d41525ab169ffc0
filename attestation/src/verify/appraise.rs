//! Appraising a verified report: every rule of an [`Appraisal`], each with what it saw.

use super::KeyKind;
use super::appraisal::{Appraisal, BitRule, Floors};
use super::chain::VerifiedVek;
use super::{Checks, Code};
use crate::cert::{Authority, VekKind};
use crate::hex::{self, Hex};
use crate::report::{
    Fields, Generation, PLATFORM_BITS, POLICY_BITS, POLICY_MUST_BE_ONE, Report, Verified,
    set_names, unknown_bits, unknown_policy_bits,
};

/// Makes every appraisal check; all of them, whatever fails. The built-in rules about VMPL and
/// guest policy bits give way to an isolation policy that is asked, too.
pub(super) fn appraise(
    report: &Report<Verified>,
    vek: &VerifiedVek,
    rules: &Appraisal,
    by_policy: bool,
    checks: &mut Checks,
) {
    // Every check is made, whatever failed before: a report that is wrong in three ways is told so
    // once.
    let fields = report.fields();
    platform_identity(fields, vek, rules, checks);
    if by_policy {
        const DECIDED: [Code; 11] = [
            Code::Vmpl,
            Code::PolicySmt,
            Code::PolicyMigrateMa,
            Code::PolicyDebug,
            Code::PolicySingleSocket,
            Code::PolicyCxl,
            Code::PolicyXts,
            Code::PolicyRapl,
            Code::PolicyCiphertext,
            Code::PolicyPageSwap,
            Code::PolicyUnknown,
        ];
        checks.skip_missing(&DECIDED, "see POLICY");
    } else {
        privilege(fields, rules, checks);
        guest_policy_bits(fields, rules, checks);
    }
    guest_policy(fields, rules, checks);
    platform_bits(fields, rules, checks);
    mitigations(fields, rules, checks);
    tcb(fields, vek.generation, rules, checks);
    identity(fields, rules, checks);
}

fn platform_identity(f: &Fields, vek: &VerifiedVek, rules: &Appraisal, checks: &mut Checks) {
    generation(vek, rules, checks);
    one_of(Code::ChipAllowed, &f.chip_id, rules.chip_ids.as_deref(), checks);
    let kind = match vek.extensions.kind {
        VekKind::Vcek { .. } => KeyKind::Vcek,
        VekKind::Vlek { .. } => KeyKind::Vlek,
    };
    match &rules.key_kinds {
        None => checks.skip(Code::KeyKindAllowed, "no rule given"),
        Some(allowed) => {
            let saw = vek.extensions.kind.name();
            let wanted = listed(allowed.iter().map(|allowed| allowed.name()));
            checks.require(Code::KeyKindAllowed, allowed.contains(&kind), saw, wanted);
        }
    }
    provider(&vek.extensions.kind, rules, checks);
    // Here "checked" is what the chain says; the verdict's property asks the same.
    let saw = if vek.crl_checked { "checked" } else { "none checked" };
    if rules.require_crl {
        checks.require(Code::CrlRequired, vek.crl_checked, saw, "one");
    } else {
        checks.skip(Code::CrlRequired, "not required");
    }
}

/// The generation is allowed, and its root is not broken or was allowed by name.
fn generation(vek: &VerifiedVek, rules: &Appraisal, checks: &mut Checks) {
    let generation = vek.generation;
    match &rules.generations {
        Some(allowed) if !allowed.contains(&generation) => {
            let wanted = listed(allowed.iter().map(|allowed| allowed.name()));
            checks.fail(Code::GenerationAllowed, generation.name(), wanted);
        }
        // Being on a list of generations is not enough: it may be older than the break. A MODEL
        // root has no secret to break: whoever trusts one has said so, and the verdict says MODEL.
        _ => match generation.broken_root().filter(|_| vek.authority == Authority::Amd) {
            None => checks.pass(Code::GenerationAllowed, generation.name()),
            Some(why) if rules.allow_broken_roots.contains(&generation) => {
                checks.warn(
                    Code::GenerationAllowed,
                    format!("{}: {why}; allowed by name", generation.name()),
                );
            }
            Some(why) => checks.fail(
                Code::GenerationAllowed,
                format!("{}: {why}", generation.name()),
                format!(
                    "a generation whose root holds, or --allow-broken-root {}",
                    generation.name().to_lowercase()
                ),
            ),
        },
    }
}

/// The cloud provider that a VLEK's certificate names.
fn provider(kind: &VekKind, rules: &Appraisal, checks: &mut Checks) {
    match (&rules.csp_ids, kind) {
        (None, VekKind::Vlek { csp_id }) => {
            checks.skip(Code::CspAllowed, format!("no rule given; it is {csp_id}"));
        }
        (None, VekKind::Vcek { .. }) => checks.skip(Code::CspAllowed, "no rule given"),
        (Some(allowed), VekKind::Vlek { csp_id }) => checks.require(
            Code::CspAllowed,
            allowed.contains(csp_id),
            csp_id.clone(),
            listed(allowed),
        ),
        (Some(allowed), VekKind::Vcek { .. }) => {
            checks.fail(Code::CspAllowed, "a VCEK names no provider", listed(allowed));
        }
    }
}

/// Which VMPL asked for the report; 0 alone unless the rules say otherwise.
fn privilege(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    let allowed = rules.vmpl.as_deref().unwrap_or(&[0]);
    let saw = if f.vmpl == u32::MAX { "requested by the host".into() } else { f.vmpl.to_string() };
    checks.require(Code::Vmpl, allowed.contains(&f.vmpl), saw, listed(allowed));
}

fn guest_policy(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    let rules = &rules.guest_policy;
    // Bits 15:0: the least ABI version, minor in the low byte. Versions compare as pairs, major
    // first.
    let [minor, major, ..] = f.policy.to_le_bytes();
    let (least_major, least_minor) = rules.min_abi;
    checks.require(
        Code::PolicyAbi,
        (major, minor) >= rules.min_abi,
        format!("{major}.{minor}"),
        format!("{least_major}.{least_minor} or later"),
    );
    checks.require(
        Code::PolicyReserved,
        f.policy & POLICY_MUST_BE_ONE != 0,
        format!("{:#x}", f.policy),
        "bit 17 one",
    );
}

fn guest_policy_bits(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    let rules = &rules.guest_policy;
    let bits = [
        (Code::PolicySmt, rules.smt),
        (Code::PolicyMigrateMa, rules.migrate_ma),
        (Code::PolicyDebug, rules.debug),
        (Code::PolicySingleSocket, rules.single_socket),
        (Code::PolicyCxl, rules.cxl),
        (Code::PolicyXts, rules.mem_aes_256_xts),
        (Code::PolicyRapl, rules.rapl_dis),
        (Code::PolicyCiphertext, rules.ciphertext_hiding),
        (Code::PolicyPageSwap, rules.page_swap_disable),
    ];
    // In the order of [`POLICY_BITS`], bit by bit; the two lists have one length, checked by the
    // type.
    for ((code, rule), bit) in bits.into_iter().zip(POLICY_BITS) {
        let set = f.policy & bit.mask() != 0;
        let saw = if set { "set" } else { "clear" };
        match rule {
            BitRule::Any => checks.skip(code, format!("no rule given; it is {saw}")),
            BitRule::Set => checks.require(code, set, saw, "set"),
            BitRule::Clear => checks.require(code, !set, saw, "clear"),
        }
    }
    // A bit without a known meaning may weaken the guest: refused unless its mask is named.
    let unknown = unknown_policy_bits(f.policy);
    let refused = unknown & !rules.allow_unknown_bits;
    let wanted = format!("none outside {:#x}", rules.allow_unknown_bits);
    checks.require(Code::PolicyUnknown, refused == 0, format!("{unknown:#x}"), wanted);
}

fn platform_bits(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    let rules = &rules.platform;
    let info = f.platform_info;
    let saw = format!("{info:#x} ({})", set_names(info, &PLATFORM_BITS));
    if rules.required == 0 {
        checks.skip(Code::PlatformRequired, format!("no rule given; it is {saw}"));
    } else {
        let holds = info & rules.required == rules.required;
        checks.require(Code::PlatformRequired, holds, saw, format!("{:#x} set", rules.required));
    }
    if rules.forbidden == 0 {
        checks.skip(Code::PlatformForbidden, "no rule given");
    } else {
        let holds = info & rules.forbidden == 0;
        let wanted = format!("{:#x} clear", rules.forbidden);
        checks.require(Code::PlatformForbidden, holds, format!("{info:#x}"), wanted);
    }
    let unknown = unknown_bits(info, &PLATFORM_BITS);
    let saw = format!("{unknown:#x}");
    // Unknown platform bits are a warning by default, where unknown policy bits are refused: a
    // processor reports features of its own that no rule was written for, but a guest's owner chose
    // the policy.
    if unknown != 0 && !rules.deny_unknown {
        checks.warn(Code::PlatformUnknown, saw);
    } else {
        checks.require(Code::PlatformUnknown, unknown == 0, saw, "none");
    }
}

fn mitigations(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    for (code, attested, required) in [
        (Code::MitigationLaunch, f.launch_mitigations, rules.launch_mitigations),
        (Code::MitigationCurrent, f.current_mitigations, rules.current_mitigations),
    ] {
        let saw = attested.map_or("not in this report version".into(), |mask| format!("{mask:#x}"));
        if required == 0 {
            checks.skip(code, format!("no rule given; it is {saw}"));
        } else {
            // A report that is too old to have the field meets no demand on it.
            let holds = attested.is_some_and(|mask| mask & required == required);
            checks.require(code, holds, saw, format!("all of {required:#x}"));
        }
    }
}

fn tcb(f: &Fields, generation: Generation, rules: &Appraisal, checks: &mut Checks) {
    for (code, tcb, Floors { floors, unknown }) in rules.floors_for(f, generation) {
        let saw = tcb.describe(generation);
        // An unknown preset first: no floor at hand stands in for the one that was asked for.
        if !unknown.is_empty() {
            let [family, model, stepping] = f.cpuid;
            let processor = format!(
                "{} (family {family:#x} model {model:#x} stepping {stepping})",
                generation.name()
            );
            let saw = format!("no floor is known here of {} for {processor}", unknown.join(", "));
            checks.fail(code, saw, "a floor of your own in the appraisal");
        } else if floors.is_empty() {
            checks.skip(code, format!("no rule given; it is {saw}"));
        } else if let Some((name, value, floor)) =
            floors.iter().find_map(|floor| floor.first_below(tcb, generation))
        {
            checks.fail(code, format!("{name} {value}"), format!("{name} {floor} or more"));
        } else if let Some(name) =
            floors.iter().find_map(|floor| floor.missing_component(generation))
        {
            checks.fail(code, format!("{} has no {name}", generation.name()), "such a component");
        } else {
            checks.pass(code, saw);
        }
    }
    match rules.min_firmware_version() {
        None => checks.skip(
            Code::FirmwareVersion,
            format!("no rule given; it is {} (committed)", f.committed_version),
        ),
        Some(least) => checks.require(
            Code::FirmwareVersion,
            f.committed_version >= least,
            f.committed_version.to_string(),
            format!("{least} or later"),
        ),
    }
    // Both numbers: a firmware version can be committed while a part of its TCB is not.
    let committed = f.committed_tcb == f.current_tcb && f.committed_version == f.current_version;
    let saw = if committed { "committed equals current" } else { "provisional firmware runs" };
    if rules.tcb.committed_only {
        checks.require(Code::FirmwareCommitted, committed, saw, "committed equals current");
    } else {
        checks.skip(Code::FirmwareCommitted, format!("no rule given; {saw}"));
    }
}

fn identity(f: &Fields, rules: &Appraisal, checks: &mut Checks) {
    one_of(Code::IdKey, &f.id_key_digest, rules.id_key_digests.as_deref(), checks);
    one_of(Code::AuthorKey, &f.author_key_digest, rules.author_key_digests.as_deref(), checks);
    one_of(Code::FamilyId, &f.family_id, rules.family_ids.as_deref(), checks);
    one_of(Code::ImageId, &f.image_id, rules.image_ids.as_deref(), checks);
    match rules.min_guest_svn {
        None => checks.skip(Code::GuestSvn, format!("no rule given; it is {}", f.guest_svn)),
        Some(least) => checks.require(
            Code::GuestSvn,
            f.guest_svn >= least,
            f.guest_svn.to_string(),
            format!("{least} or more"),
        ),
    }
    one_of(Code::Measurement, &f.measurement, rules.measurements.as_deref(), checks);
    one_of(Code::HostData, &f.host_data, rules.host_data.as_deref(), checks);
    one_of(Code::ReportId, &f.report_id, rules.report_ids.as_deref(), checks);
}

/// What a list of allowed things allows, in words.
pub(super) fn listed(allowed: impl IntoIterator<Item: ToString>) -> String {
    let words: Vec<_> = allowed.into_iter().map(|one| one.to_string()).collect();
    if words.is_empty() { "nothing is allowed".to_owned() } else { words.join(" or ") }
}

fn one_of<const N: usize>(
    code: Code,
    seen: &[u8; N],
    rule: Option<&[Hex<N>]>,
    checks: &mut Checks,
) {
    match rule {
        None => checks.skip(code, format!("no rule given; it is {}", hex::encode(seen))),
        Some(allowed) => {
            let wanted = match allowed {
                [] => "nothing is allowed".to_owned(),
                [Hex(only)] => hex::encode(only),
                [Hex(first), rest @ ..] => format!("{} or {} more", hex::encode(first), rest.len()),
            };
            let holds = allowed.iter().any(|Hex(value)| value == seen);
            checks.require(code, holds, hex::encode(seen), wanted);
        }
    }
}
