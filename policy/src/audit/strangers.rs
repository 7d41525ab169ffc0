//! Those that nobody listed: digests, names, paths and end points that a policy which says whom it
//! means does not admit. They are what a lint asks the engine about, and what it prints.

use super::danger::{Ask, Bad, patterns};
use crate::canonical::sha256;
use crate::fact::Fact;
use crate::lattice::{Bytes, Endpoint, Protocol, Tcb, Usage};

/// A byte string that no document lists: the hash of a sentence, as long as it has to be.
fn stranger(len: u8) -> Bytes {
    // Hashes of hashes, so that there is one stranger of each length and a longer one begins with a
    // shorter one.
    let mut bytes = Vec::new();
    let mut last = sha256(b"casemate: nobody listed this");
    while bytes.len() < usize::from(len) {
        bytes.extend_from_slice(&last);
        last = sha256(&last);
    }
    bytes.truncate(usize::from(len));
    Bytes::new(&bytes).unwrap_or_else(|| Bytes::zero(len))
}

/// A digest that nobody listed.
pub(super) fn digest(len: u8) -> Bad {
    Bad::One(vec![Fact::Bytes(stranger(len))])
}

/// A digest that nobody listed, or zeros: what is reported where nothing was set.
pub(super) fn digest_or_unset(len: u8) -> Bad {
    Bad::One(vec![Fact::Bytes(stranger(len)), unset(len)])
}

/// The chip identifiers of machines that nobody listed: 64 bytes, and 8 bytes padded (Turin and
/// later).
pub(super) fn chip() -> Bad {
    let long = stranger(64);
    let mut short = [0; 64];
    // A Turin's identifier: 8 bytes, then zeros.
    for (to, from) in short.iter_mut().zip(long.as_slice()).take(8) {
        *to = *from;
    }
    let short = Bytes::new(&short).unwrap_or(long);
    Bad::One(vec![Fact::Bytes(long), Fact::Bytes(short)])
}

/// What stands for the HOST_DATA of a guest whose initdata holds the document that is asked.
pub(super) fn own_initdata() -> Bad {
    Bad::One(vec![Fact::Bytes(Bytes::INITDATA)])
}

fn unset(len: u8) -> Fact {
    Fact::Bytes(Bytes::zero(len))
}

/// Zeros: what is reported where nothing was set.
pub(super) fn zeros(len: u8) -> Bad {
    Bad::One(vec![unset(len)])
}

/// Names that nobody listed, one for each letter and digit they can begin with after `prefix`: a
/// list of `a*` to `z*` leaves none out. Narrower patterns (`red-*`) name a family and are no
/// wildcard.
fn names(prefix: &str) -> impl Iterator<Item = String> + '_ {
    let first = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain(['-', '_', '.', '/']);
    // The letter is followed by what no list has, so that only a pattern that ends right behind it
    // admits the name.
    first.map(move |c| format!("{prefix}{c}7-nobody-listed-this"))
}

/// Texts that nobody listed.
pub(super) fn name() -> Bad {
    Bad::texts(names(""))
}

/// Providers that nobody listed, as certificates name them.
pub(super) fn provider() -> Bad {
    Bad::texts(names("CN=").chain(names("CN=cc-")).chain(names("")))
}

/// Callers of `casemate run` that nobody listed. Behind every pattern a user number that only the
/// pattern's star admits: `uid-10*` is not only 1000 to 1099, but all numbers that begin so.
pub(super) fn caller(ask: &Ask<'_>) -> Bad {
    let uid = "uid-";
    let all = ask.own_rules().filter_map(patterns).flat_map(crate::lattice::Patterns::patterns);
    let stars = all.filter(|pattern| pattern.is_prefix());
    let numbers = stars.filter_map(|pattern| {
        let digits = pattern.text().strip_prefix(uid)?;
        let number = digits.len() < 10 && digits.bytes().all(|b| b.is_ascii_digit());
        // With nine digits it is below 2^32, whatever it begins with.
        number.then(|| format!("{uid}{digits}{}", "4".repeat(9usize.saturating_sub(digits.len()))))
    });
    let one = ["uid-65534".to_owned(), "uid-31337".to_owned()];
    Bad::texts(one.into_iter().chain(numbers).chain(names("")))
}

/// Words of a kernel command line that nobody listed.
pub(super) fn word() -> Bad {
    Bad::texts(names("").map(|name| format!("{name}=1")))
}

/// Words that give the guest to whoever writes the command line, or take its defences away
/// (Linux Documentation/admin-guide/kernel-parameters.txt; dracut.cmdline(7), systemd(1),
/// systemd-debug-generator(8), systemd.system-credentials(7), cloud-init's and Ignition's manuals).
pub(super) fn takeover() -> Bad {
    Bad::texts(GIVE_AWAY.iter().chain(DISARM))
}

/// What runs, or what it is told, is chosen by the command line.
const GIVE_AWAY: &[&str] = &[
    "init=/bin/sh",
    "init=/dev/vda",
    "rdinit=/bin/sh",
    "rd.break",
    "rd.shell",
    "rd.cmdline=ask",
    "break=premount",
    "single",
    "s",
    "S",
    "1",
    "emergency",
    "rescue",
    // Behind `--`, for systemd itself; in names `-` is written `_`.
    "__unit=rescue.target",
    "__crash_shell",
    "root=/dev/nobody-listed-this",
    "roothash=nobody-listed-this",
    "usrhash=nobody-listed-this",
    "mount.usr=/dev/nobody-listed-this",
    "netroot=nbd:nobody-listed-this",
    "nfsroot=nobody-listed-this",
    "dm_mod.create=nobody-listed-this",
    // An image of memory that is gone on with.
    "resume=/dev/nobody-listed-this",
    "systemd.verity=no",
    "systemd.run=/bin/sh",
    "systemd.unit=rescue.target",
    "systemd.unit=emergency.target",
    "systemd.wants=debug-shell.service",
    "systemd.mask=nobody-listed-this.service",
    "systemd.debug_shell=1",
    "systemd.debug_shell",
    "systemd.debug-shell",
    "systemd.crash_shell=1",
    "systemd.setenv=LD_PRELOAD=/nobody-listed-this",
    "systemd.set_credential=passwd.plaintext-password.root:nobody-listed-this",
    "systemd.set_credential_binary=passwd.plaintext-password.root:bm9ib2R5",
    "rd.systemd.unit=emergency.target",
    "rd.systemd.debug_shell",
    "rd.systemd.wants=debug-shell.service",
    "ds=nocloud;s=http://nobody-listed-this/",
    "cloud_config_url=http://nobody-listed-this/",
    "ignition.config.url=http://nobody-listed-this/",
    "sysctl.kernel.core_pattern=|/bin/sh",
    "sysctl.kernel.modprobe=/bin/sh",
    "kgdboc=ttyS0",
    "kgdbwait",
    // Keys of the serial port, which is the host's, then do what they say.
    "sysrq_always_enabled",
    "acpi_rsdp=0x1000",
];

/// A defence that is there without the word is not there with it.
const DISARM: &[&str] = &[
    "mitigations=off",
    "nokaslr",
    "nosmep",
    "nosmap",
    "clearcpuid=smap",
    "nopti",
    "pti=off",
    "mem_encrypt=off",
    // An interrupt 0x80 of the host is a system call then (Heckler): SECURITY.md, "Events for
    // Linux".
    "ia32_emulation=1",
    "ia32_emulation=on",
    "ia32_emulation=y",
    "initcall_blacklist=nobody_listed_this",
    "module_blacklist=nobody_listed_this",
    "lsm=nobody-listed-this",
    "security=none",
    "nospectre_v1",
    "nospectre_v2",
    "spectre_v2=off",
    "spectre_v2_user=off",
    "spectre_bhi=off",
    "spec_store_bypass_disable=off",
    "nospec_store_bypass_disable",
    "spec_rstack_overflow=off",
    "retbleed=off",
    "l1tf=off",
    "mds=off",
    "tsx_async_abort=off",
    "mmio_stale_data=off",
    "gather_data_sampling=off",
    "reg_file_data_sampling=off",
    "indirect_target_selection=off",
    "tsa=off",
    "rodata=off",
    "iomem=relaxed",
    "norandmaps",
    "randomize_kstack_offset=off",
    "hardened_usercopy=off",
    "init_on_alloc=0",
    "vsyscall=emulate",
    "cfi=off",
    "proc_mem.force_override=always",
    "module.sig_enforce=0",
    "dm_verity.require_signatures=0",
    "loadpin.enforce=0",
    "ipe.enforce=0",
    "ima_appraise=off",
    "evm=fix",
    "selinux=0",
    "enforcing=0",
    "apparmor=0",
];

/// Files that are the host's own, or anyone's: devices and memory, configuration, programs, users,
/// what any local user can put in place. Behind every directory that the rule names in a tree of
/// one of these kinds there is one, too: who may make `/tmp/a` need not be whom the rule means.
pub(super) fn host_file(ask: &Ask<'_>) -> Bad {
    let all = ask.own_rules().filter_map(patterns).flat_map(crate::lattice::Patterns::patterns);
    let named = all.map(crate::lattice::Pattern::text);
    let named = named.filter(|root| HOST_TREES.iter().any(|tree| root.starts_with(tree)));
    let named = named.map(|root| format!("{root}nobody-listed-this/"));
    // A user's key, wherever one is at home: the administrator, somebody, nobody that a list has.
    let homes = ["/root", "/home/someone", "/home/nobody-listed-this"];
    let keys = homes.map(|home| format!("{home}/.ssh/id_ed25519/"));
    let others = [
        "/dev/mem/",
        "/dev/sda/",
        "/dev/nvme0n1/",
        "/dev/disk/by-id/nobody-listed-this/",
        "/dev/mapper/nobody-listed-this/",
        "/proc/1/mem/",
        "/proc/kcore/",
        "/sys/kernel/",
        "/etc/shadow/",
        "/etc/ssl/private/nobody-listed-this/",
        "/etc/ssh/ssh_host_ed25519_key/",
        "/boot/vmlinuz/",
        "/usr/bin/sudo/",
        "/bin/sh/",
        "/sbin/init/",
        "/lib/modules/",
        "/run/nobody-listed-this.sock/",
        "/var/lib/dpkg/status/",
        "/var/lib/nobody-listed-this/",
        "/var/lib/docker/nobody-listed-this/",
        "/var/lib/containers/nobody-listed-this/",
        "/var/lib/kubelet/nobody-listed-this/",
        "/var/log/auth.log/",
        "/var/spool/cron/",
        "/var/run/nobody-listed-this.sock/",
        "/tmp/nobody-listed-this/",
        "/var/tmp/nobody-listed-this/",
        "/dev/shm/nobody-listed-this/",
    ];
    Bad::texts(others.map(str::to_owned).into_iter().chain(keys).chain(named))
}

/// Trees in which no directory is one of disk images: what the host is told and tells, and what
/// everybody may write to.
const HOST_TREES: &[&str] = &[
    "/boot/",
    "/dev/fd/",
    "/dev/shm/",
    "/etc/",
    "/proc/",
    "/run/lock/",
    "/run/user/",
    "/sys/",
    "/tmp/",
    "/var/lock/",
    "/var/tmp/",
];

/// Addresses under which clouds give credentials to whoever asks from the machine.
pub(super) fn metadata() -> Bad {
    let addresses = [
        "169.254.169.254", // most clouds
        "169.254.170.2",   // tasks of AWS
        "168.63.129.16",   // Azure's wire server
        "100.100.100.200", // Alibaba
        "fd00:ec2::254",   // AWS over IPv6
        "fd20:ce::254",    // Google over IPv6
    ];
    endpoints(&addresses, &[80])
}

/// The host that the guest's network process runs on. A connection to no address at all is one to
/// this host (Linux `ip_route_output_key_hash_rcu`, `ip6_datagram_connect`).
pub(super) fn loopback() -> Bad {
    endpoints(
        &["127.0.0.1", "127.7.7.7", "::1", "0.0.0.0", "::"],
        &[22, 80, 443, 2375, 5432, 6443, 8080],
    )
}

fn endpoints(addresses: &[&str], ports: &[u16]) -> Bad {
    let mut all = Vec::new();
    for address in addresses.iter().filter_map(|text| text.parse().ok()) {
        for port in ports {
            // Both protocols: a rule for one of them may leave the other open.
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                all.push(Fact::Endpoint(Endpoint { address, port: *port, protocol }));
            }
        }
    }
    Bad::One(all)
}

/// Platforms that have everything but one: SNP firmware or microcode of the first levels that were
/// ever shipped. A floor under these is none, whatever it says about the other parts.
pub(super) fn old_platform() -> Bad {
    const FIRST_SNP: u8 = 1;
    const FIRST_MICROCODE: u8 = 8;
    let platforms = (0..4u8).flat_map(|generation| {
        // No FMC before Turin; neither boot loader nor microcode in the TCB of Venice.
        let fmc = if generation < 2 { 0 } else { u8::MAX };
        let snp = [fmc, u8::MAX, u8::MAX, FIRST_SNP, u8::MAX];
        let microcode = [fmc, u8::MAX, u8::MAX, u8::MAX, FIRST_MICROCODE];
        let both = [Some(snp), (generation < 3).then_some(microcode)];
        both.into_iter().flatten().map(move |levels| Fact::Tcb(Tcb { generation, levels }))
    });
    Bad::One(platforms.collect())
}

/// Platforms below the SNP firmware that closes AMD-SB-3019: Milan 0x18, Genoa 0x17.
pub(super) fn below_bulletin() -> Bad {
    let below = |generation: u8, snp: u8| {
        // One level short of the fix, and the best there is in every other part.
        let levels = [0, u8::MAX, u8::MAX, snp - 1, u8::MAX];
        Fact::Tcb(Tcb { generation, levels })
    };
    Bad::One(vec![below(0, 0x18), below(1, 0x17)])
}

/// More than `most` uses in a second.
pub(super) fn rate_above(most: u64) -> Bad {
    let in_second = most.saturating_add(1);
    Bad::One(vec![Fact::Usage(Usage { in_second, total: in_second })])
}
