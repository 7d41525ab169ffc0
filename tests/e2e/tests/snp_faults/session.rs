//! Many guests, one after the other, in one virtual SNP host that misbehaves differently for each.

use casemate_e2e::{place, static_programs};
use casemate_test_host::{Host, Kind, Output};
use std::fmt::Write as _;
use std::time::Duration;

/// What `/sys/kernel/debug/snpemu` has.
pub const FILES: &str = "/sys/kernel/debug/snpemu";

/// One guest, and what the host does before it and after.
#[derive(Debug, Default)]
pub struct Guest {
    /// What it is about, for messages.
    pub name: String,
    /// The host's fault, as `--faults` takes it; empty for none.
    pub fault: String,
    /// More for a shell before the guest starts.
    pub before: String,
    /// A command whose output is kept in [`Ended::after`].
    pub after: String,
    /// vCPUs; 0 for one.
    pub vcpus: u32,
    /// Time limit for a guest that is to stand still; none for one that is to end by itself.
    pub limit: Option<&'static str>,
}

/// How a guest ended.
#[derive(Debug)]
pub struct Ended {
    /// Of `casemate run`.
    pub status: i32,
    /// How often the fault happened.
    pub happened: u64,
    /// The program's last word.
    pub said: String,
    /// Bytes of standard output, and processes that were left.
    pub left: (u64, u64),
    /// What [`Guest::after`] put out.
    pub after: String,
}

/// A bzImage that ends the guest by the GHCB MSR protocol with set 2, code 0x2a.
pub fn kernel() -> Vec<u8> {
    // mov ecx, 0xc0010130; mov eax, 0x2a2100; xor edx, edx; wrmsr; vmgexit; hlt
    const CODE: &[u8] = &[
        0xb9, 0x30, 0x01, 0x01, 0xc0, 0xb8, 0x00, 0x21, 0x2a, 0x00, 0x31, 0xd2, 0x0f, 0x30, 0xf3,
        0x0f, 0x01, 0xd9, 0xf4,
    ];
    casemate_test_support::bzimage::bzimage(&[(0x1f4, &[0x80]), (1024 + 0x200, CODE)])
}

/// A [`Guest::fault`] that leaves the host's plan as it was from its start.
pub const KEEP: &str = "keep";

/// What is said of a guest whose kernel was entered.
pub const KERNEL_REACHED: &str = "GHCB reason set 2, code 0x2a";

const RUN: &str = r#"
faults() { sed -n 's/^fault_injected //p' FILES/counters; }
# guest N VCPUS LIMIT FAULT AFTER...
guest() {
	[ "$4" = keep ] || echo "$4" >FILES/faults
	was=$(faults)
	casemate run /vm$2.toml --policy /policy.toml $3 >/tmp/out 2>/tmp/err
	status=$?
	echo "GUEST $1 $status $(($(faults) - $([ "$4" = keep ] && echo 0 || echo $was))) $(wc -c </tmp/out) $(pidof casemate | wc -w) $(grep '^casemate:' /tmp/err | tail -1)"
	echo >FILES/faults
}
"#;

/// Runs them all in a host with these `faults` from its start.
pub fn session(name: &str, faults: &str, guests: &[Guest]) -> (Vec<Ended>, Output) {
    let programs = static_programs().expect("casemate is built");
    let directory = place(name).expect("a directory");
    std::fs::write(directory.join("kernel"), kernel()).unwrap();
    let mut host = Host::new(Kind::Snp)
        .expect("the virtual SNP host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(directory.join("kernel"), "/e2e/kernel");
    for vcpus in [1, 2] {
        let file = directory.join(format!("vm{vcpus}.toml"));
        let config = format!(
            "kernel = \"/e2e/kernel\"\nprotection = \"sev-snp\"\nmemory = \"128M\"\nvcpus = {vcpus}\n\
             [snp]\nc_bit = 39\n"
        );
        std::fs::write(&file, config).unwrap();
        host = host.file(&file, &format!("/vm{vcpus}.toml"));
    }
    if !faults.is_empty() {
        host = host.faults(faults);
    }
    let mut script = RUN.replace("FILES", FILES);
    for (index, guest) in guests.iter().enumerate() {
        let limit = guest.limit.map_or(String::new(), |limit| format!("--timeout {limit}"));
        let (before, vcpus, after) = (&guest.before, guest.vcpus.max(1), &guest.after);
        writeln!(script, "{before}\nguest {index} {vcpus} '{limit}' '{}'", guest.fault).unwrap();
        writeln!(
            script,
            "({}) | sed 's/^/AFTER {index} /'",
            if after.is_empty() { ":" } else { after }
        )
        .unwrap();
    }
    std::fs::write(directory.join("script"), script).unwrap();
    let output = host
        .file(directory.join("script"), "/e2e/script")
        .timeout(Duration::from_secs(120 + 60 * guests.len() as u64))
        .run(". /e2e/script")
        .expect("the virtual SNP host runs");
    let _ = std::fs::remove_dir_all(&directory);
    let ended = (0..guests.len()).map(|index| ended(&output, index)).collect();
    (ended, output)
}

fn ended(output: &Output, index: usize) -> Ended {
    let marker = format!("GUEST {index} ");
    let Some(line) = output.stdout.lines().find_map(|line| line.strip_prefix(&marker)) else {
        panic!("guest {index} left nothing:\n{}\n{}\n{}", output.stdout, output.stderr, output.log);
    };
    let mut words = line.splitn(5, ' ');
    let mut number = || words.next().and_then(|word| word.parse::<u64>().ok()).expect("a number");
    let (status, happened, left) = (number(), number(), (number(), number()));
    let marker = format!("AFTER {index} ");
    let after = output.stdout.lines().filter_map(|line| line.strip_prefix(&marker));
    Ended {
        status: i32::try_from(status).expect("an exit status"),
        happened,
        left,
        said: words.next().unwrap_or("").to_owned(),
        after: after.collect::<Vec<_>>().join("\n"),
    }
}
