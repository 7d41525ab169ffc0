//! Security contexts: of the pod and of its containers.

use crate::finding::Verdict;
use crate::reader::Reader;
use crate::yaml::{self, Value};
use casemate_pod::Capability;

/// What the pod says for all its containers, and a container for itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Security {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub groups: Vec<u32>,
    pub non_root: bool,
    pub read_only: bool,
    pub new_privileges: Option<bool>,
    pub caps: Vec<Capability>,
}

/// Capabilities (capabilities(7)) that no container of a pod can have, so that taking them away
/// changes nothing. A word that is in neither list is a mistake: what it was to take away would
/// stay.
const NEVER: [&str; 23] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "DAC_READ_SEARCH",
    "IPC_OWNER",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "NET_BROADCAST",
    "PERFMON",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_MODULE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// The pod's.
pub(crate) fn of_pod(reader: &mut Reader<'_>, spec: &Value) -> Security {
    let mut security = Security::default();
    if let Some(context) = spec.get("securityContext") {
        for (key, value) in reader.entries(context, "spec.securityContext") {
            let field = format!("spec.securityContext.{}", key.name);
            pod_field(reader, &mut security, key, value, &field);
        }
    }
    security
}

fn pod_field(
    reader: &mut Reader<'_>,
    security: &mut Security,
    key: &yaml::Key,
    value: &Value,
    field: &str,
) {
    match key.name.as_str() {
        "supplementalGroups" => {
            for one in reader.list(value, field) {
                security.groups.extend(number(reader, one, field));
            }
            reader.findings.bound(key.line, field, "groups of every container");
        }
        "fsGroup" => {
            security.groups.extend(number(reader, value, field));
            let why = "a group of every container; volumes of the guest can be written by all";
            reader.findings.bound(key.line, field, why);
        }
        "fsGroupChangePolicy" => {
            reader.findings.outside(key.line, field, "owners on disks of the host's");
        }
        "supplementalGroupsPolicy" if value.text() == Some("Merge") => {
            reader.findings.bound(key.line, field, "groups of the image count as well");
        }
        "sysctls" => {
            if !value.list().is_some_and(<[Value]>::is_empty) {
                let why = "cannot be bound: they would be the kernel's of the host";
                reader.findings.refuse(key.line, field, why);
            }
        }
        _ => both(reader, security, key, value, field),
    }
}

/// A container's, over the pod's.
pub(crate) fn of_container(
    reader: &mut Reader<'_>,
    container: &Value,
    at: &str,
    pod: &Security,
) -> Security {
    let mut security = Security { caps: Capability::defaults(), ..pod.clone() };
    let Some(context) = container.get("securityContext") else { return security };
    for (key, value) in reader.entries(context, &format!("{at}.securityContext")) {
        let field = format!("{at}.securityContext.{}", key.name);
        match key.name.as_str() {
            "privileged" => {
                if reader.flag(value, &field) {
                    let why = "cannot be: it is every device and every right, and undoes what \
                               keeps containers apart";
                    reader.findings.refuse(key.line, &field, why);
                } else {
                    reader.findings.bound(key.line, &field, "it is not");
                }
            }
            "allowPrivilegeEscalation" => {
                security.new_privileges = Some(reader.flag(value, &field));
                reader.findings.bound(key.line, &field, "as it is");
            }
            "readOnlyRootFilesystem" => {
                security.read_only = reader.flag(value, &field);
                reader.findings.bound(key.line, &field, "as it is");
            }
            "capabilities" => capabilities(reader, &mut security, value, &field),
            "procMount" if value.text() == Some("Default") => {
                reader.findings.bound(key.line, &field, "as it is");
            }
            _ => both(reader, &mut security, key, value, &field),
        }
    }
    security
}

/// Fields that pods and containers have alike.
fn both(
    reader: &mut Reader<'_>,
    security: &mut Security,
    key: &yaml::Key,
    value: &Value,
    field: &str,
) {
    let (verdict, why) = match key.name.as_str() {
        "runAsUser" => {
            security.uid = number(reader, value, field);
            (Verdict::Bound, "the user, by number")
        }
        "runAsGroup" => {
            security.gid = number(reader, value, field);
            (Verdict::Bound, "the group, by number")
        }
        "runAsNonRoot" => {
            security.non_root = reader.flag(value, field);
            (Verdict::Bound, "the user was looked up, and is bound by number")
        }
        "seccompProfile" | "appArmorProfile" => match value.get("type").and_then(Value::text) {
            Some("RuntimeDefault" | "Unconfined") => {
                (Verdict::Outside, "profiles of the host are none of the guest's kernel")
            }
            _ => (Verdict::Refused, "a profile of the node cannot be bound"),
        },
        "seLinuxOptions" | "windowsOptions" => (Verdict::Refused, "cannot be: no guest has it"),
        _ => (Verdict::Refused, "is not known here"),
    };
    reader.findings.say(verdict, key.line, field, why);
}

fn number(reader: &mut Reader<'_>, value: &Value, field: &str) -> Option<u32> {
    let number = value.number();
    if number.is_none() {
        reader.findings.refuse(value.line, field, "is no number of a user or group");
    }
    number
}

fn capabilities(reader: &mut Reader<'_>, security: &mut Security, value: &Value, at: &str) {
    // First what is taken away, then what is given: ALL and one of them is a common pair.
    for key in ["drop", "add"] {
        let field = format!("{at}.{key}");
        let Some(list) = value.get(key) else { continue };
        for one in reader.list(list, &field) {
            // In any case of letters, as engines take them.
            let word = one.text().unwrap_or_default().to_ascii_uppercase();
            let name = word.strip_prefix("CAP_").unwrap_or(&word);
            match (key, name.parse::<Capability>()) {
                ("drop", _) if name == "ALL" => security.caps.clear(),
                ("drop", Ok(cap)) => security.caps.retain(|one| *one != cap),
                // What is not given to begin with.
                ("drop", Err(_)) if NEVER.contains(&name) => {}
                (_, Ok(cap)) if !security.caps.contains(&cap) => security.caps.push(cap),
                (_, Ok(_)) => {}
                (_, Err(why)) => {
                    reader.findings.refuse(one.line, &field, format!("{word} {why}"));
                }
            }
        }
        reader.findings.bound(list.line, &field, "as it is");
    }
    for (key, _) in reader.entries(value, at) {
        if !matches!(key.name.as_str(), "add" | "drop") {
            reader.findings.refuse(key.line, at, "has a key that is not known here");
        }
    }
    security.caps.sort_unstable();
}
