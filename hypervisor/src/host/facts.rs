//! What this host reports of itself, as the facts of the policy's decision point `host`.
//!
//! Principle: a fact is what the kernel or the firmware says, never what is likely. What they do
//! not say is left out, which every rule but `any` denies. A host that lies deceives this as it
//! deceives its user: what must hold against the host is in the report of the guest, and the
//! section `attestation`.

use super::kernel;
use crate::kvm::{SnpPlatform, snp_platform};
use casemate_attestation::report::{Generation, Tcb};
use casemate_attestation::verify::levels;
use casemate_policy::{Facts, Key};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What was found out about the host; `None` is not known.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// The kernel's release, such as `6.12.117-amd64`.
    pub release: String,
    /// What the firmware says; `None` when it cannot be asked, `Some(None)` when there is none.
    pub platform: Option<Option<SnpPlatform>>,
    /// The processor's generation, where it is one that has SNP.
    pub generation: Option<Generation>,
    /// Whether simultaneous multithreading is on.
    pub smt: Option<bool>,
    /// Whether all memory is encrypted, whoever uses it.
    pub tsme: Option<bool>,
    /// Whether the host cannot read ciphertext of guests.
    pub ciphertext_hiding: Option<bool>,
}

impl HostFacts {
    /// Asks kernel and firmware.
    #[must_use]
    pub fn take() -> Self {
        let uname = rustix::system::uname();
        let smt = read("/sys/devices/system/cpu/smt/active");
        Self {
            release: uname.release().to_string_lossy().into_owned(),
            platform: snp_platform().ok(),
            generation: first_processor().and_then(|text| generation(&text)),
            smt: smt.and_then(|text| flag(&text)),
            tsme: tsme(Path::new("/sys/bus/pci/drivers/ccp")),
            ciphertext_hiding: ciphertext_hiding(Path::new("/sys/module/kvm_amd")),
        }
    }

    /// The facts for the policy. Flaws are asked of a host of a confidential guest only: all that
    /// are named are flaws of SNP hosts.
    #[must_use]
    pub fn facts(&self, confidential: bool) -> Facts {
        let mut facts = Facts::new();
        let mut flag = |key, known: Option<bool>| {
            if let Some(on) = known {
                facts = std::mem::take(&mut facts).flag(key, on);
            }
        };
        flag(Key::HostSmt, self.smt);
        flag(Key::HostTsme, self.tsme);
        flag(Key::HostCiphertextHiding, self.ciphertext_hiding);
        flag(Key::HostSnp, self.platform.map(|found| found.is_some_and(|p| p.initialised)));
        if let Some(generation) = self.generation {
            facts = facts.text(Key::HostGeneration, &generation.name().to_lowercase());
        }
        if let Some(version) = kernel::KernelVersion::parse(&self.release) {
            let flaws = kernel::flaws(version).filter_map(|flaw| flaw.refused);
            let flaws: Vec<&str> = flaws.filter(|_| confidential).collect();
            facts = facts
                .text(Key::HostKernel, &version.to_string())
                .texts(Key::HostFlaws, flaws.iter().copied());
        }
        match self.platform.flatten() {
            Some(platform) => self.firmware(facts, &platform),
            None => facts,
        }
    }

    fn firmware(&self, facts: Facts, platform: &SnpPlatform) -> Facts {
        let (major, minor) = platform.api;
        let version = format!("{major}.{minor}.{}", platform.build);
        let mut facts = facts
            .text(Key::HostFirmware, &version)
            .flag(Key::HostAliasCheck, platform.aliases_checked);
        if let Some(chip) = platform.chip {
            facts = facts.bytes(Key::HostChip, &chip);
        }
        if let Some(generation) = self.generation {
            let tcb = levels(Tcb(platform.reported_tcb), generation);
            facts = facts.tcb(Key::HostTcb, tcb);
        }
        facts
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn flag(text: &str) -> Option<bool> {
    match text.trim() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// What /proc/cpuinfo says of the first processor. All of it is a kilobyte and more for each, which
/// the kernel writes anew for every reader.
fn first_processor() -> Option<String> {
    const MOST: u64 = 4096;
    let mut text = Vec::new();
    File::open("/proc/cpuinfo").ok()?.take(MOST).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// The generation of the first processor in the text of /proc/cpuinfo.
fn generation(cpuinfo: &str) -> Option<Generation> {
    let value = |name: &str| {
        let mut lines = cpuinfo.lines().take_while(|line| !line.is_empty());
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found.trim() == name).then(|| value.trim())
        })
    };
    if value("vendor_id")? != "AuthenticAMD" {
        return None;
    }
    let (family, model) = (value("cpu family")?.parse().ok()?, value("model")?.parse().ok()?);
    Generation::from_cpuid(family, model)
}

/// `tsme_status` of the security processor's PCI device (Linux
/// Documentation/ABI/testing/sysfs-driver-ccp), which is there where the processor reports it.
fn tsme(driver: &Path) -> Option<bool> {
    let devices = std::fs::read_dir(driver).ok()?.take(64);
    let status = |entry: std::io::Result<std::fs::DirEntry>| {
        flag(&std::fs::read_to_string(entry.ok()?.path().join("tsme_status")).ok()?)
    };
    devices.filter_map(status).next()
}

/// The kernel hides ciphertext when it set address space identifiers aside for it (Linux 6.18,
/// `kvm_amd.ciphertext_hiding_asids`); one that does not know of it does not.
fn ciphertext_hiding(module: &Path) -> Option<bool> {
    match std::fs::read_to_string(module.join("parameters/ciphertext_hiding_asids")) {
        Ok(text) => text.trim().parse().ok().map(|identifiers: u32| identifiers > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{HostFacts, ciphertext_hiding, generation, tsme};
    use crate::kvm::SnpPlatform;
    use casemate_attestation::report::Generation;
    use casemate_policy::{Facts, Key, Point, Policy};

    fn policy(rules: &str) -> Policy {
        let any = Policy::permissive_text();
        let (head, rest) = any.split_once("[host]").unwrap();
        let (_, rest) = rest.split_once("[launch]").unwrap();
        let mut host: Vec<String> = [
            "snp",
            "firmware",
            "kernel",
            "smt",
            "tsme",
            "ciphertext_hiding",
            "alias_check",
            "generations",
            "chip_allow",
            "tcb",
            "flaws",
        ]
        .iter()
        .filter(|name| !rules.starts_with(&format!("{name} ")))
        .map(|name| format!("{name} = \"any\""))
        .collect();
        host.push(rules.into());
        let text = format!("{head}[host]\n{}\n[launch]{rest}", host.join("\n"));
        Policy::load(&text, "test").unwrap()
    }

    fn genoa() -> HostFacts {
        HostFacts {
            release: "6.12.118-cloud".into(),
            platform: Some(Some(SnpPlatform {
                initialised: true,
                aliases_checked: true,
                api: (1, 55),
                build: 39,
                reported_tcb: [10, 0, 0, 0, 0, 0, 23, 84],
                chip: Some([7; 64]),
            })),
            generation: Some(Generation::Genoa),
            smt: Some(false),
            tsme: Some(true),
            ciphertext_hiding: Some(false),
        }
    }

    /// Each rule admits this host when it is met, and refuses it one step further. Cannot tell
    /// whether the files read are those of a real host.
    #[test]
    fn every_host_rule_is_decided_on_what_the_host_reports() {
        let facts = genoa().facts(true);
        let (seven, eight) = ("07".repeat(64), "08".repeat(64));
        for (met, not_met) in [
            ("snp = \"required\"".to_owned(), "snp = \"forbidden\"".to_owned()),
            ("firmware = \"1.55.39\"".into(), "firmware = \"1.55.40\"".into()),
            ("kernel = \"6.12.118\"".into(), "kernel = \"6.12.119\"".into()),
            ("alias_check = \"required\"".into(), "alias_check = \"forbidden\"".into()),
            ("smt = \"forbidden\"".into(), "smt = \"required\"".into()),
            ("tsme = \"required\"".into(), "tsme = \"forbidden\"".into()),
            ("ciphertext_hiding = \"forbidden\"".into(), "ciphertext_hiding = \"required\"".into()),
            ("generations = [\"genoa\"]".into(), "generations = [\"turin\"]".into()),
            (format!("chip_allow = [\"{seven}\"]"), format!("chip_allow = [\"{eight}\"]")),
            (format!("chip_deny = [\"{eight}\"]"), format!("chip_deny = [\"{seven}\"]")),
            (
                "tcb = { genoa = { bootloader = 10, tee = 0, snp = 23, microcode = 84 } }".into(),
                "tcb = { genoa = { bootloader = 10, tee = 0, snp = 24, microcode = 84 } }".into(),
            ),
        ] {
            assert!(policy(&met).decide(Point::Host, &facts).is_allow(), "{met}");
            let decision = policy(&not_met).decide(Point::Host, &facts);
            let rule = format!("host.{}", not_met.split(' ').next().unwrap());
            assert_eq!(decision.reasons.len(), 1, "{not_met}: {decision}");
            assert_eq!(decision.reasons[0].rule, rule, "{decision}");
        }
    }

    #[test]
    fn what_the_host_does_not_report_is_refused_by_every_rule_but_any() {
        let nothing = HostFacts::default().facts(true);
        assert_eq!(nothing, Facts::new());
        assert!(policy("flaws = \"any\"").decide(Point::Host, &nothing).is_allow());
        for rule in ["snp = \"forbidden\"", "kernel = \"1.0\"", "smt = \"forbidden\"", "flaws = []"]
        {
            assert!(!policy(rule).decide(Point::Host, &nothing).is_allow(), "{rule}");
        }
        // A host without the device has no SNP; one that may not be asked is not known to have
        // none.
        let none = HostFacts { platform: Some(None), ..HostFacts::default() }.facts(false);
        assert!(policy("snp = \"forbidden\"").decide(Point::Host, &none).is_allow());
        assert!(!policy("snp = \"required\"").decide(Point::Host, &none).is_allow());
    }

    #[test]
    fn a_confidential_guest_is_refused_on_a_kernel_with_a_published_flaw_unless_it_is_put_up_with()
    {
        let flawed = HostFacts { release: "6.12.117+deb12-cloud".into(), ..genoa() };
        let strict = policy("flaws = []");
        assert!(!strict.decide(Point::Host, &flawed.facts(true)).is_allow());
        assert!(
            strict.decide(Point::Host, &flawed.facts(false)).is_allow(),
            "plain guests have none"
        );
        assert!(strict.decide(Point::Host, &genoa().facts(true)).is_allow());
        let named = policy("flaws = [\"snp-launch-finish\"]");
        assert!(named.decide(Point::Host, &flawed.facts(true)).is_allow());
        let older = HostFacts { release: "6.12.57".into(), ..genoa() }.facts(true);
        assert!(!named.decide(Point::Host, &older).is_allow(), "one named does not admit another");
        let builtin = Policy::builtin_strict();
        let decision = builtin.decide(Point::Host, &flawed.facts(true));
        assert!(decision.to_string().contains("host.flaws"), "{decision}");
        assert!(builtin.decide(Point::Host, &genoa().facts(true)).is_allow());
    }

    #[test]
    fn the_processor_is_told_by_family_and_model() {
        let text = |vendor: &str, family: u32, model: u32| {
            format!(
                "processor\t: 0\nvendor_id\t: {vendor}\ncpu family\t: {family}\nmodel\t\t: {model}\n\n"
            )
        };
        assert_eq!(generation(&text("AuthenticAMD", 25, 1)), Some(Generation::Milan));
        assert_eq!(generation(&text("AuthenticAMD", 25, 17)), Some(Generation::Genoa));
        assert_eq!(generation(&text("AuthenticAMD", 26, 2)), Some(Generation::Turin));
        assert_eq!(generation(&text("GenuineIntel", 25, 1)), None);
        assert_eq!(generation(&text("AuthenticAMD", 99_999, 1)), None);
        assert_eq!(generation(""), None);
    }

    #[test]
    fn sysfs_is_read_where_it_says_something() {
        let root = std::env::temp_dir().join(format!("casemate-facts-{}", std::process::id()));
        let (device, module) = (root.join("0000:43:00.1"), root.join("kvm_amd"));
        std::fs::create_dir_all(&device).unwrap();
        std::fs::create_dir_all(module.join("parameters")).unwrap();
        assert_eq!((tsme(&root), ciphertext_hiding(&module)), (None, Some(false)));
        for (text, tsme_is, hiding) in [
            ("0\n", Some(false), Some(false)),
            ("1\n", Some(true), Some(true)),
            ("yes\n", None, None),
        ] {
            std::fs::write(device.join("tsme_status"), text).unwrap();
            std::fs::write(module.join("parameters/ciphertext_hiding_asids"), text).unwrap();
            assert_eq!((tsme(&root), ciphertext_hiding(&module)), (tsme_is, hiding), "{text}");
        }
        std::fs::remove_dir_all(root).unwrap();
    }

    /// This machine answers: its own kernel is at least itself. Cannot tell what an SNP host
    /// answers.
    #[test]
    fn this_machines_kernel_is_known() {
        let found = HostFacts::take();
        let facts = found.facts(true);
        assert!(facts.get(Key::HostKernel).is_some(), "{}", found.release);
        assert!(!policy("kernel = \"99.0\"").decide(Point::Host, &facts).is_allow());
    }
}
