//! Capabilities by name, as the OCI specification has them.

/// Names in the order of numbers (linux/capability.h), without `CAP_`.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A bit for each; None where one is not known.
pub fn set(names: &[String]) -> Option<u64> {
    names.iter().try_fold(0, |set, name| {
        let name = name.strip_prefix("CAP_")?;
        let number = NAMES.iter().position(|known| *known == name)?;
        Some(set | 1 << number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_kernel_s_numbers() {
        let set = |names: &[&str]| set(&names.iter().map(|n| (*n).into()).collect::<Vec<_>>());
        assert_eq!(set(&["CAP_CHOWN", "CAP_SYS_ADMIN"]), Some(1 | 1 << 21));
        assert_eq!(set(&["CAP_CHECKPOINT_RESTORE"]), Some(1 << 40));
        assert_eq!(set(&["CAP_ALL"]), None);
        assert_eq!(set(&["CHOWN"]), None);
    }

    #[test]
    fn numbers_are_those_of_manifests() {
        for capability in casemate_pod::Capability::defaults() {
            let name = format!("CAP_{capability}");
            assert_eq!(set(&[name]), Some(1 << capability.number()), "{capability}");
        }
    }
}
