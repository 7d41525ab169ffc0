//! `casemate attest show`: every field of a report, decoded. It proves nothing and says so.

use crate::files::{print_json, read_file};
use crate::out::{out, outln};
use crate::{Failure, Outcome};
use casemate_attestation::evidence::{Claims, ClaimsError, Evidence};
use casemate_attestation::hex::encode;
use casemate_attestation::report::{
    Bit, Fields, Generation, PLATFORM_BITS, POLICY_BITS, Report, SigningKey, Tcb, unknown_bits,
    unknown_policy_bits,
};
use casemate_foreign_text::value;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Decode every field of a report. Proves nothing: use `verify` for that.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  casemate attest show report.bin
  casemate attest show report.bin --json
")]
pub struct Show {
    /// Report in any form that `verify` takes.
    report: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Show) -> Outcome {
    let bad = |error: &dyn std::fmt::Display| {
        Failure::BadInput(format!("{}: {error}", args.report.display()))
    };
    let evidence = Evidence::read(&read_file(&args.report)?).map_err(|error| bad(&error))?;
    let report = Report::parse(&evidence.report).map_err(|error| bad(&error))?;
    let fields = report.unverified_fields();
    // Version 2 has no processor identification; the issuer of a VEK beside it names the
    // generation.
    let issuer = evidence
        .vek()
        .and_then(|der| casemate_attestation::cert::Certificate::from_der(der).ok())
        .and_then(|vek| casemate_attestation::cert::recognise_name(&vek.issuer))
        .and_then(|(_, role)| role.generation());
    let generation = fields.generation().or(issuer);
    let claims = evidence.azure.as_ref().map(|azure| Claims::parse(&azure.claims));
    if args.json {
        let mut value = to_json(fields, generation);
        if let Some(object) = value.as_object_mut() {
            object.insert("verified".to_owned(), false.into());
            object.insert("azure".to_owned(), claims.map(shown).into());
        }
        print_json(&value);
    } else {
        outln!("NOT VERIFIED: what follows is what the bytes say ({})", evidence.form.name());
        print_fields(fields, generation);
        let row = |name: &str, value: &str| outln!("{name:<20} {value}");
        match claims {
            None => {}
            Some(Ok(claims)) => claim_rows(&claims, &row),
            Some(Err(error)) => row("Azure claims", &format!("cannot be read: {error}")),
        }
    }
    Ok(())
}

/// Claims in JSON, or why they cannot be read.
fn shown(claims: Result<Claims, ClaimsError>) -> Value {
    match claims {
        Ok(claims) => claims_json(&claims),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// The claims of Azure's paravisor, row by row.
pub(super) fn claim_rows(claims: &Claims, row: &dyn Fn(&str, &str)) {
    let flag = |on: Option<bool>| on.map_or("not said", |on| if on { "yes" } else { "no" });
    row("vTPM key (SHA-256)", &encode(&claims.ak.key_digest()));
    let id = claims.vm_unique_id.as_deref().unwrap_or("not said");
    row("vmUniqueId", &value(id).to_string());
    row("secure boot", flag(claims.secure_boot));
    row("TPM enabled", flag(claims.tpm_enabled));
    row("TPM persisted", flag(claims.tpm_persisted));
    row("console enabled", flag(claims.console_enabled));
    row("user data", &claims.user_data.map_or("not said".to_owned(), |data| encode(&data)));
}

/// The same in JSON.
pub(super) fn claims_json(claims: &Claims) -> Value {
    json!({
        "ak": encode(&claims.ak.key_digest()),
        "keys": claims.keys,
        "vm-unique-id": claims.vm_unique_id,
        "secure-boot": claims.secure_boot,
        "tpm-enabled": claims.tpm_enabled,
        "tpm-persisted": claims.tpm_persisted,
        "console-enabled": claims.console_enabled,
        "user-data": claims.user_data.map(|data| encode(&data)),
    })
}

fn key_name(fields: &Fields) -> String {
    match fields.signing_key() {
        SigningKey::Vcek => "VCEK".to_owned(),
        SigningKey::Vlek => "VLEK".to_owned(),
        SigningKey::None => "none: not signed".to_owned(),
        SigningKey::Reserved(value) => format!("undefined ({value})"),
    }
}

fn print_fields(f: &Fields, generation: Option<Generation>) {
    let row = |name: &str, value: &str| outln!("{name:<20} {value}");
    row("version", &f.version.to_string());
    row("guest svn", &f.guest_svn.to_string());
    row("family id", &encode(&f.family_id));
    row("image id", &encode(&f.image_id));
    let vmpl =
        if f.vmpl == u32::MAX { "requested by the host".to_owned() } else { f.vmpl.to_string() };
    row("vmpl", &vmpl);
    row("signature algorithm", &f.signature_algorithm.to_string());
    row("signing key", &key_name(f));
    row("author key", if f.author_key_enabled() { "given" } else { "none" });
    row("chip key masked", if f.chip_key_masked() { "yes: not signed" } else { "no" });
    row("report data", &encode(&f.report_data));
    row("measurement", &encode(&f.measurement));
    row("host data", &encode(&f.host_data));
    row("id key digest", &encode(&f.id_key_digest));
    row("author key digest", &encode(&f.author_key_digest));
    row("report id", &encode(&f.report_id));
    row("report id (MA)", &encode(&f.report_id_ma));
    row("chip id", &encode(&f.chip_id));
    let [family, model, stepping] = f.cpuid;
    let name = generation.map_or("unknown generation", Generation::name);
    let processor = if f.version >= 3 {
        format!("{name}, family {family:#x} model {model:#x} stepping {stepping}")
    } else {
        format!("{name}; a report of version 2 does not say")
    };
    row("processor", &processor);
    row("firmware", &format!("current {}, committed {}", f.current_version, f.committed_version));
    let vector = |v: Option<u64>| v.map_or("not in this version".to_owned(), |v| format!("{v:#x}"));
    row(
        "mitigations",
        &format!(
            "launch {}, current {}",
            vector(f.launch_mitigations),
            vector(f.current_mitigations)
        ),
    );
    print_tcbs(f, generation);
    let [minor, major, ..] = f.policy.to_le_bytes();
    outln!("guest policy         {:#x}, ABI {major}.{minor} or later", f.policy);
    print_bits(f.policy, &POLICY_BITS, unknown_policy_bits(f.policy));
    outln!("platform information {:#x}", f.platform_info);
    print_bits(f.platform_info, &PLATFORM_BITS, unknown_bits(f.platform_info, &PLATFORM_BITS));
    row("signature r", &encode(&f.signature_r));
    row("signature s", &encode(&f.signature_s));
}

fn tcbs(f: &Fields) -> [(&'static str, Tcb); 4] {
    [
        ("reported", f.reported_tcb),
        ("committed", f.committed_tcb),
        ("current", f.current_tcb),
        ("launch", f.launch_tcb),
    ]
}

/// The four TCBs side by side.
fn print_tcbs(f: &Fields, generation: Option<Generation>) {
    let all = tcbs(f);
    out!("{:<20}", "TCB");
    for (name, _) in all {
        out!(" {name:>10}");
    }
    outln!("");
    let layout = generation.map(Generation::tcb_layout);
    for byte in 0..8usize {
        let name = match layout {
            Some(layout) => match layout.get(byte).copied().flatten() {
                Some(name) => format!("  {name}"),
                None => continue,
            },
            None => format!("  byte {byte}"),
        };
        out!("{name:<20}");
        for (_, tcb) in all {
            out!(" {:>10}", tcb.0.get(byte).copied().unwrap_or(0));
        }
        outln!("");
    }
}

fn print_bits(value: u64, known: &[Bit], unknown: u64) {
    for bit in known {
        let set = value & bit.mask() != 0;
        let sense = match (set, bit.weakens) {
            (true, true) => "weaker",
            (true, false) => "stronger",
            (false, _) => "",
        };
        let (on, number) = (u8::from(set), bit.number);
        outln!("  {number:>2} {:<21} {on}  {:<58} {sense}", bit.name, bit.meaning);
    }
    if unknown != 0 {
        outln!("  unknown bits {unknown:#x}");
    }
}

/// The fields of a report in JSON.
pub(super) fn to_json(f: &Fields, generation: Option<Generation>) -> Value {
    let bits = |value: u64, known: &[Bit]| -> Value {
        known
            .iter()
            .map(|bit| (bit.name.to_owned(), json!(value & bit.mask() != 0)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let tcb: serde_json::Map<String, Value> = tcbs(f)
        .into_iter()
        .map(|(name, tcb)| {
            let parts: serde_json::Map<String, Value> = match generation {
                Some(generation) => tcb
                    .components(generation)
                    .map(|(name, value)| (name.to_owned(), value.into()))
                    .collect(),
                None => [("raw".to_owned(), encode(&tcb.0).into())].into_iter().collect(),
            };
            (name.to_owned(), parts.into())
        })
        .collect();
    json!({
        "version": f.version,
        "guest-svn": f.guest_svn,
        "policy": format!("{:#x}", f.policy),
        "policy-bits": bits(f.policy, &POLICY_BITS),
        "family-id": encode(&f.family_id),
        "image-id": encode(&f.image_id),
        "vmpl": f.vmpl,
        "signature-algorithm": f.signature_algorithm,
        "platform-info": format!("{:#x}", f.platform_info),
        "platform-bits": bits(f.platform_info, &PLATFORM_BITS),
        "signing-key": key_name(f),
        "author-key": f.author_key_enabled(),
        "chip-key-masked": f.chip_key_masked(),
        "report-data": encode(&f.report_data),
        "measurement": encode(&f.measurement),
        "host-data": encode(&f.host_data),
        "id-key-digest": encode(&f.id_key_digest),
        "author-key-digest": encode(&f.author_key_digest),
        "report-id": encode(&f.report_id),
        "report-id-ma": encode(&f.report_id_ma),
        "chip-id": encode(&f.chip_id),
        "generation": generation.map(Generation::name),
        "cpuid": encode(&f.cpuid),
        "tcb": tcb,
        "firmware": { "current": f.current_version.to_string(), "committed": f.committed_version.to_string() },
        "mitigations": { "launch": f.launch_mitigations, "current": f.current_mitigations },
        "signature": { "r": encode(&f.signature_r), "s": encode(&f.signature_s) },
    })
}
