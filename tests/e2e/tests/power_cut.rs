//! Protects what a guest was told is on its disk: an ext4 file system is whole, and every file that
//! was there before a flush that was answered is there, after each of these, all under load: the
//! guest switches itself off; every process of the VM is killed; the power fails at any flush. The
//! last one is the kernel's word: the image lies on dm-log-writes in the virtual host, which notes
//! what its device is told and when, and each prefix of that up to a flush is looked at. Judged by
//! e2fsck and debugfs. A confidential guest's processes are killed once, too, in the virtual SNP
//! host, a MODEL. Cannot tell what a device under the host makes of a flush.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "test code")]

use casemate_e2e::{ext4_image, host_modules, initrd, libraries, place, static_programs};
use casemate_test_host::{Host, Kind};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

const MIB: u64 = 24;
/// Files that the guest keeps before it switches itself off.
const ROUNDS: u32 = 12;

const CONFIG: &str = "name = \"NAME\"\nkernel = \"/k/vmlinuz\"\ninitrd = \"/d/initrd\"\n\
    cmdline = \"console=ttyS0 reboot=acpi panic=-1 quiet rounds=ROUNDS\"\nmemory = \"256M\"\n\
    timeout = \"300s\"\nprotection = \"PROTECTION\"\nMORE\n[[disk]]\npath = \"DISK\"\n";

/// Ends all processes of the VM as soon as some files were kept. A process that was killed may take
/// a moment, and leaves a zombie until it is waited for.
const KILLED: &str = "casemate run /kill.toml POLICY </dev/null >/out/killed 2>&1 & \
    tries=2400; until grep -q 'kept 6' /out/killed; do \
    usleep 100000; [ $((tries -= 1)) -gt 0 ] || break; done; \
    kill -9 $(ps -o pid,args | awk '/[c]asemate/ { print $1 }'); wait; \
    left() { ps -o stat,args | grep -v '^Z' | grep -c '[c]asemate'; }; \
    tries=100; while [ $(left) != 0 ] && [ $((tries -= 1)) -gt 0 ]; do usleep 100000; done; \
    echo left=$(left); mv /d/kill.img /out/kill.img; ";

/// A guest that switches itself off, on a disk whose every write and flush is noted: `/dev/dm-0`,
/// which the kernel names; nobody here makes a name below `/dev/mapper`.
const LOGGED: &str = "for m in loop dm-mod dm-log-writes; do insmod /m/$m.ko; done; \
    truncate -s 128M /tmp/log; losetup /dev/loop0 /d/fs.img; losetup /dev/loop1 /tmp/log; \
    dmsetup create logged --noudevsync --noudevrules \
    --table \"0 $((MIB * 2048)) log-writes /dev/loop0 /dev/loop1\" \
    && casemate run /logged.toml </dev/null >/out/off 2>&1; echo status=$?; \
    dmsetup remove --noudevsync --noudevrules logged; losetup -d /dev/loop0; losetup -d /dev/loop1; \
    mv /d/fs.img /out/off.img; mv /tmp/log /out/log; ";

struct Guest {
    place: PathBuf,
    host: Host,
}

fn config(name: &str, disk: &str, rounds: u32, protection: &str, more: &str) -> String {
    CONFIG
        .replace("NAME", name)
        .replace("DISK", disk)
        .replace("ROUNDS", &rounds.to_string())
        .replace("PROTECTION", protection)
        .replace("MORE", more)
}

fn guest(kind: Kind, name: &str, protection: &str, more: &str) -> Guest {
    let programs = static_programs().expect("casemate is built");
    let place = place(name).expect("a folder");
    initrd(&place.join("initrd"), "power-cut-workload.sh", &["drivers/block/virtio_blk"])
        .expect("an initrd");
    ext4_image(&place.join("fs.img"), MIB, None).expect("an image");
    let kill = config("killed", "/d/kill.img", 100_000, protection, more);
    fs::write(place.join("kill.toml"), kill).expect("a configuration");
    let host = Host::new(kind)
        .expect("the virtual host can be built")
        .file(programs.join("casemate"), "/bin/casemate")
        .file(place.join("kill.toml"), "/kill.toml")
        .file(place.join("initrd"), "/d/initrd")
        .file(place.join("fs.img"), "/d/kill.img")
        .get("/out", place.join("out"))
        .memory_mib(2560)
        .timeout(Duration::from_secs(500));
    Guest { place, host }
}

impl Guest {
    fn run(&self, command: &str) -> String {
        let output = self.host.run(&format!("mkdir /out; {command}")).expect("the host runs");
        format!("{}\n{}", output.stdout, output.stderr)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.place.join("out").join(name)
    }

    /// What the guest said it has kept: the sums of `kept.1`, `kept.2` and so on.
    fn kept(&self, console: &str) -> Vec<String> {
        let text = fs::read(self.out(console)).expect("a console");
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix("guest: kept "));
        let sums: Vec<_> = lines
            .filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned))
            .filter(|sum| sum.len() == 64)
            .collect();
        assert!(text.contains("guest: mounted") && sums.len() >= 6, "{text}");
        sums
    }
}

fn tool(program: &str, arguments: &[&str], image: &Path) -> Output {
    Command::new(program).args(arguments).arg(image).output().expect("e2fsprogs is there")
}

/// Replays the journal of a copy of the image, as mounting it would, looks at all of it, and says
/// how many of the kept files are there, one after the other from the first on, with their bytes.
fn checked(image: &Path, kept: &[String], what: &str) -> usize {
    let copy = image.with_extension("checked");
    fs::copy(image, &copy).expect("a copy");
    let replayed = tool("/sbin/e2fsck", &["-y", "-E", "journal_only"], &copy);
    let found = tool("/sbin/e2fsck", &["-f", "-n"], &copy);
    assert!(found.status.success(), "{what}: {replayed:?}\n{found:?}");
    let files = image.with_extension("files");
    let _ = fs::remove_dir_all(&files);
    fs::create_dir(&files).expect("a folder");
    let dump = format!("rdump / {}", files.display());
    let dumped = tool("/sbin/debugfs", &["-R", &dump], &copy);
    let intact: Vec<_> = (1..)
        .zip(kept)
        .map(|(round, sum)| {
            let file = files.join(format!("kept.{round}"));
            let sums = Command::new("sha256sum").arg(file).output().expect("sha256sum runs");
            String::from_utf8_lossy(&sums.stdout).starts_with(sum)
        })
        .collect();
    let first = intact.iter().take_while(|intact| **intact).count();
    // The one that was being written may be there as well, never one behind it.
    let all = intact.iter().filter(|intact| **intact).count();
    assert!(all == first, "{what}: {intact:?}, {dumped:?}");
    first
}

/// The log of dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst): a super block
/// and entries, each in whole sectors, with the bytes of what was written behind it.
struct Log<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u64,
    sector: usize,
}

const MAGIC: u64 = 0x6a_7366_7773_6872;
const FLUSH: u64 = 1;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

struct Entry<'a> {
    at: usize,
    len: usize,
    flags: u64,
    data: &'a [u8],
}

fn number(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl<'a> Log<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        assert_eq!(number(bytes, 0), MAGIC, "no log");
        let sector = (number(bytes, 24) & 0xffff_ffff) as usize;
        Self { bytes, at: sector, left: number(bytes, 16), sector }
    }
}

impl<'a> Iterator for Log<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let head = &self.bytes[self.at..];
        let unit = |at: usize| {
            usize::try_from(number(head, at)).expect("a place in the log") * self.sector
        };
        let (at, len, flags) = (unit(0), unit(8), number(head, 16));
        self.at += self.sector;
        let has_data = flags & (DISCARD | MARK) == 0;
        let data = &self.bytes[self.at..self.at + if has_data { len } else { 0 }];
        self.at += data.len();
        Some(Entry { at, len, flags, data })
    }
}

/// Looks at what a power cut would have left at each flush.
fn replayed(base: &Path, log: &Path, kept: &[String]) -> usize {
    let (mut image, log) = (fs::read(base).expect("an image"), fs::read(log).expect("a log"));
    let file = base.with_file_name("replayed.img");
    let (mut flushes, mut before, mut dirty) = (0, 0, false);
    for entry in Log::new(&log) {
        if entry.flags & FLUSH != 0 && dirty {
            fs::write(&file, &image).expect("an image");
            flushes += 1;
            let now = checked(&file, kept, &format!("flush {flushes}"));
            assert!(now >= before, "flush {flushes}: {now} files after {before}");
            before = now;
            dirty = false;
        }
        if entry.flags & DISCARD != 0 {
            image[entry.at..entry.at + entry.len].fill(0);
        }
        image[entry.at..entry.at + entry.data.len()].copy_from_slice(entry.data);
        dirty |= !entry.data.is_empty();
    }
    assert_eq!(before, kept.len(), "what was kept last was flushed");
    flushes
}

#[test]
fn a_file_system_is_whole_and_keeps_what_was_flushed_after_any_power_cut() {
    let mut guest = guest(Kind::Plain, "power-cut", "none", "");
    let logged = config("logged", "/dev/dm-0", ROUNDS, "none", "");
    fs::write(guest.place.join("logged.toml"), logged).expect("a configuration");
    let dmsetup = Path::new("/sbin/dmsetup");
    let modules = ["drivers/block/loop", "drivers/md/dm-mod", "drivers/md/dm-log-writes"];
    let mut files = host_modules(&modules, &guest.place).expect("modules");
    files.extend(libraries(dmsetup).expect("the libraries of dmsetup"));
    files.push((dmsetup.into(), "/bin/dmsetup".into()));
    files.push((guest.place.join("logged.toml"), "/logged.toml".into()));
    files.push((guest.place.join("fs.img"), "/d/fs.img".into()));
    for (from, to) in files {
        guest.host = guest.host.file(from, &to);
    }
    let logged = LOGGED.replace("MIB", &MIB.to_string());
    let said = guest.run(&format!("{logged}{}", KILLED.replace("POLICY", "")));
    println!("{said}");
    let console = fs::read_to_string(guest.out("off")).unwrap_or_default();
    assert!(said.contains("status=0") && said.contains("left=0"), "{said}\n{console}");

    let kept = guest.kept("off");
    assert_eq!(kept.len(), ROUNDS as usize);
    assert_eq!(checked(&guest.out("off.img"), &kept, "switched off"), kept.len());
    let flushes = replayed(&guest.place.join("fs.img"), &guest.out("log"), &kept);
    println!("power cuts at {flushes} flushes");
    // One for each file that was kept, at least: else the guest's flushes do not reach the device.
    assert!(flushes >= kept.len(), "{flushes}");

    let kept = guest.kept("killed");
    assert_eq!(checked(&guest.out("kill.img"), &kept, "killed"), kept.len());
    let _ = fs::remove_dir_all(&guest.place);
}

#[test]
fn a_confidential_guests_file_system_is_whole_after_all_its_processes_were_killed() {
    let guest = guest(Kind::Snp, "power-cut-snp", "sev-snp", "[snp]\nc_bit = 39");
    let said = guest.run(&KILLED.replace("POLICY", "--policy /policy.toml"));
    assert!(said.contains("left=0"), "{said}");
    let kept = guest.kept("killed");
    assert_eq!(checked(&guest.out("kill.img"), &kept, "killed"), kept.len());
    let _ = fs::remove_dir_all(&guest.place);
}
