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
/// (Linux Documentation/admin-guide/kernel-parameters.txt; dracut.cmdline(7), systemd(1)).
pub(super) fn takeover() -> Bad {
    Bad::texts([
        "init=/bin/sh",
        "init=/dev/vda",
        "rdinit=/bin/sh",
        "mitigations=off",
        "rd.break",
        "rd.shell",
        "break=premount",
        "single",
        "1",
        "S",
        "emergency",
        "rescue",
        "root=/dev/nobody-listed-this",
        "roothash=nobody-listed-this",
        "systemd.verity=no",
        "systemd.run=/bin/sh",
        "rd.systemd.unit=emergency.target",
        "systemd.unit=rescue.target",
        "systemd.unit=emergency.target",
        "systemd.debug_shell=1",
        "systemd.debug_shell",
        "systemd.debug-shell",
        "nokaslr",
        "nosmep",
        "nosmap",
        "nopti",
        "pti=off",
        "mem_encrypt=off",
        "nospectre_v1",
        "nospectre_v2",
        "spectre_v2=off",
        "spec_store_bypass_disable=off",
        "retbleed=off",
        "module.sig_enforce=0",
        "ima_appraise=off",
        "selinux=0",
        "enforcing=0",
        "apparmor=0",
        "kgdboc=ttyS0",
        "kgdbwait",
    ])
}

/// Files that are the host's own, or anyone's: devices and memory, configuration, programs, users,
/// what any local user can put in place.
pub(super) fn host_file() -> Bad {
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
    Bad::texts(others.map(str::to_owned).into_iter().chain(keys))
}

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
