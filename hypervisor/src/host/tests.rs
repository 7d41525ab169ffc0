//! Tests of what can be told without a host.

use super::cgroup::{CgroupLimits, UNLIMITED, limits_in, mount_point};
use super::{Capability, Finding, KernelVersion, Survey, Verdict, flaws};

fn flaw_names(release: &str) -> Vec<&'static str> {
    flaws(KernelVersion::parse(release).unwrap()).map(|flaw| flaw.subject).collect()
}

#[test]
fn versions_are_read_from_release_strings() {
    let version = |release| KernelVersion::parse(release).map(|v| v.to_string());
    assert_eq!(version("6.12.117+deb13-cloud-amd64").as_deref(), Some("6.12.117"));
    assert_eq!(version("6.18.44-fc-v669").as_deref(), Some("6.18.44"));
    assert_eq!(version("7.3-rc1").as_deref(), Some("7.3.0"));
    assert_eq!(version("7.3.").as_deref(), Some("7.3.0"));
    for bad in ["", "6", "linux", "99999999999999.1.1"] {
        assert_eq!(version(bad), None, "{bad}");
    }
}

#[test]
fn flaws_are_named_for_the_versions_that_have_them_only() {
    assert_eq!(flaw_names("6.8.12"), [""; 0]);
    assert_eq!(flaw_names("6.9.3"), ["RMP updates"]);
    assert_eq!(flaw_names("6.11.0"), ["SNP page-state change", "SNP launch finish", "RMP updates"]);
    assert_eq!(
        flaw_names("6.12.57"),
        ["SNP page-state change", "SNP launch finish", "KVM_RUN ENOMEM"]
    );
    assert_eq!(flaw_names("6.12.117"), ["SNP launch finish", "KVM_RUN ENOMEM"]);
    assert_eq!(flaw_names("6.12.118"), ["KVM_RUN ENOMEM"]);
    assert_eq!(flaw_names("7.2.11"), ["SNP page-state change"]);
    assert_eq!(flaw_names("7.2.12"), [""; 0]);
    assert_eq!(flaw_names("7.3.4"), [""; 0]);
}

#[test]
fn confidential_vms_need_all_that_plain_ones_do() {
    let missing =
        |capability| Finding::new("thing", Verdict::Missing, "no", "why").needed_for(capability);
    let survey = |findings| Survey { findings };
    let note = Finding::new("thing", Verdict::Missing, "no", "matters little");
    for (findings, plain, snp) in [
        (vec![note], true, true),
        (vec![missing(Capability::SevSnp)], true, false),
        (vec![missing(Capability::Plain)], false, false),
    ] {
        let survey = survey(findings);
        assert_eq!((survey.can(Capability::Plain), survey.can(Capability::SevSnp)), (plain, snp));
        assert_eq!(survey.to_json()["can"]["plain"], plain);
    }
}

#[test]
fn cgroup2_is_found_among_other_mounts() {
    let text = "33 20 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                42 20 0:35 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    assert_eq!(mount_point(text).as_deref(), Some("/sys/fs/cgroup/unified"));
    assert_eq!(mount_point("33 20 0:26 / /a rw - cgroup cgroup rw,cpu"), None);
    let odd = |path: &str| mount_point(&format!("1 2 0:3 / {path} rw - cgroup2 none rw"));
    assert_eq!(odd("/a\\040b\\134c").as_deref(), Some("/a b\\c"));
    assert_eq!((odd("/a\\04"), odd("/a\\141")), (None, None), "no escape of the kernel's");
}

#[test]
fn survey_of_this_machine_answers_every_question() {
    let survey = Survey::take();
    for subject in ["kernel", "/dev/kvm", "/dev/sev", "SNP VM type", "cgroup v2"] {
        assert!(survey.findings.iter().any(|f| f.subject == subject), "{subject}\n{survey}");
    }
    let answer = super::can_run_linux();
    let told = survey.findings.iter().find(|f| f.subject == "runs Linux");
    if let Some(told) = told {
        assert_eq!(told.verdict == Verdict::Ok, answer.is_ok(), "{answer:?}\n{survey}");
    }
}

#[test]
fn the_least_limit_of_a_group_and_those_above_it_holds() {
    let root = std::env::temp_dir().join(format!("casemate-cgroup-{}", std::process::id()));
    let group = root.join("vms.slice/vm.scope");
    std::fs::create_dir_all(&group).unwrap();
    let write = |file: &str, text: &str| std::fs::write(root.join(file), text).unwrap();
    let own = "4:memory:/old\n0::/vms.slice/vm.scope\n";
    let none = CgroupLimits { cpu_percent: UNLIMITED, memory_mib: UNLIMITED, pids: UNLIMITED };
    assert_eq!(limits_in(&root, own), Some(none), "no controller limits anything");
    write("vms.slice/cpu.max", "150000 100000\n");
    write("vms.slice/memory.max", "1073741825\n");
    write("vms.slice/pids.max", "max\n");
    write("vms.slice/vm.scope/cpu.max", "max 100000\n");
    write("vms.slice/vm.scope/memory.max", "max\n");
    write("vms.slice/vm.scope/pids.max", "64\n");
    let limits = CgroupLimits { cpu_percent: 150, memory_mib: 1025, pids: 64 };
    assert_eq!(limits_in(&root, own), Some(limits));
    write("vms.slice/vm.scope/pids.max", "many\n");
    assert_eq!(limits_in(&root, own), None, "what cannot be read is not known");
    assert_eq!(limits_in(&root, "0::/gone\n"), None);
    assert_eq!(limits_in(&root, "4:memory:/\n"), None);
    std::fs::remove_dir_all(root).unwrap();
}
