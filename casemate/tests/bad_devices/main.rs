//! Bad input of disks and of devices that others serve, each tried as a user would meet it: one
//! line that names the key and what to do, the right exit status, and nothing left behind, neither
//! a process nor a socket nor a file. Cannot tell what happens once a guest runs;
//! limits by control groups are tried in `cgroup.rs`.

#![cfg(feature = "vm")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod back_ends;
mod sockets;
mod taps;

use casemate_device_block::{Image, Options};
use casemate_test_support::guests::{elf_kernel, kvm, power_off};
use casemate_test_support::refusing::refusing;
use rustix::fs::{Mode as FileMode, mknodat};
use rustix::process::{Pid, test_kill_process_group};
use std::collections::BTreeSet;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder with a kernel that switches off at once, and a disk.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        Self::in_folder(&std::env::temp_dir(), test)
    }

    fn in_folder(folder: &Path, test: &str) -> Self {
        let place = folder.join(format!("casemate-devices-{test}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&place);
        std::fs::create_dir(&place).unwrap();
        let place = Self(place);
        std::fs::write(place.0.join("k"), elf_kernel(&power_off())).unwrap();
        std::fs::write(place.0.join("disk"), [7; 4096]).unwrap();
        place
    }

    fn names(&self) -> BTreeSet<String> {
        let all = std::fs::read_dir(&self.0).unwrap();
        all.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A command in the folder, with a process group of its own.
    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_casemate"));
        command.args(arguments.split_whitespace()).current_dir(&self.0).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Asserts that a plain VM of two vCPUs with these flags is refused.
    fn refused(&self, flags: &str, status: i32, words: &[&str]) {
        let guest = format!("run --protection none --vcpus 2 --memory 64M --kernel k {flags}");
        self.ends(&mut self.command(&guest), status, words);
    }

    /// Asserts that a command ends with this status and one line with all of these words, and that
    /// nothing of it is left.
    fn ends(&self, command: &mut Command, status: i32, words: &[&str]) {
        let before = self.names();
        let child = command.spawn().unwrap();
        let group = Pid::from_raw(child.id().cast_signed()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        // Said of every plain VM once its configuration is good.
        let warning = |line: &&str| line.contains("warning: protection");
        let lines: Vec<&str> = said.lines().filter(|line| !warning(line)).collect();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {said}");
        assert_eq!(lines.len(), 1, "{words:?}: {said}");
        for word in words {
            assert!(lines[0].contains(word), "no {word:?} in: {said}");
        }
        assert_eq!(self.names(), before, "files are left or gone");
        // No member of the group is left once the one process is waited for: others would be its
        // children.
        assert!(test_kill_process_group(group).is_err(), "{words:?}: a process is left");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_image_that_cannot_be_a_disk_is_one_line_by_key_and_remedy() {
    let place = Place::new("images");
    std::fs::write(place.0.join("odd"), [0; 100]).unwrap();
    std::fs::write(place.0.join("empty"), "").unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    mknodat(rustix::fs::CWD, place.0.join("fifo"), fifo, FileMode::RUSR, 0).unwrap();
    let _listener = UnixListener::bind(place.0.join("socket")).unwrap();
    std::os::unix::fs::symlink("nowhere", place.0.join("dangling")).unwrap();
    for (disk, words) in [
        ("path=none", &["disk `disk0`", "none", "No such file", "truncate -s 1G"][..]),
        ("path=dangling", &["disk `disk0`", "dangling"]),
        ("path=disk/x", &["disk `disk0`", "Not a directory"]),
        ("path=.", &["disk `disk0`", "a directory, not a file or a block device"]),
        ("path=fifo,ro", &["disk `disk0`", "a FIFO"]),
        ("path=socket,ro", &["disk `disk0`", "socket"]),
        ("path=/dev/null", &["disk `disk0`", "a character device"]),
        ("path=odd,name=odd", &["disk `odd`", "100 bytes", "512", "truncate -s %512"]),
        ("path=empty", &["disk `disk0`", "empty", "truncate -s 1G"]),
        ("path=disk,serial=123456789012345678901", &["`disk.serial`", "at most 20"]),
        ("path=disk,iops=0", &["`disk.iops` is 0", "leave it out for no limit"]),
        ("path=disk,iops_burst=5", &["`disk.iops_burst` is 5", "`disk.iops`", "write that, too"]),
        (
            "path=disk,bandwidth=1M,bandwidth_burst=1K",
            &["`disk.bandwidth_burst` is 1024", "`disk.bandwidth` is 1048576", "use 1048 to"],
        ),
        ("path=disk,name=a/b", &["`disk.name`", "letters"]),
        ("path=disk,queues=3", &["`disk.queues` is 3", "`vcpus` is 2", "use at most"]),
        ("path=disk,queues=17", &["`disk.queues` is 17", "use 1 to 16"]),
        ("path=disk,queues=0", &["`disk.queues` is 0", "use 1 to 16"]),
        ("path=disk,queues=x", &["`disk` is", "queues=N"]),
        ("path=disk --disk path=odd,name=disk0", &["`disk.name` is \"disk0\" twice", "another"]),
        ("path=disk,serial=A --disk path=odd,serial=A", &["`disk.serial` is \"A\" twice"]),
        ("path=disk --disk path=disk", &["disk `disk1`", "disk `disk0`", "one file"]),
    ] {
        place.refused(&format!("--disk {disk}"), 2, words);
    }
    let held = Image::open(&place.0.join("disk"), &Options::default()).unwrap();
    place.refused("--disk path=disk", 2, &["disk `disk0`", "in use by another VM", "end that one"]);
    place.refused(
        "--disk path=disk,ro",
        2,
        &["disk `disk0`", "in use by another VM", "end that one"],
    );
    drop(held);
    let shared = Options { read_only: true, ..Options::default() };
    let _read = Image::open(&place.0.join("disk"), &shared).unwrap();
    let words = ["disk `disk0`", "locked by a program that reads it", "end that one"];
    place.refused("--disk path=disk", 2, &words);
    assert_eq!(std::fs::read(place.0.join("disk")).unwrap(), [7; 4096]);
}

#[test]
fn an_image_that_cannot_be_written_is_told_to_be_said_read_only() {
    let place = Place::new("read-only");
    // For root a mode is no hindrance; a mount is.
    let script = "mount --bind . . && mount -o remount,bind,ro . && cd \"$PWD\" && exec \"$@\"";
    let usable = Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success());
    if !usable {
        println!("SKIPPED: it takes root and unshare");
        return;
    }
    let guest = "run --protection none --memory 64M --kernel k --disk path=disk";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_casemate")]);
    command.args(guest.split_whitespace()).current_dir(&place.0).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    place.ends(&mut command, 2, &["disk `disk0`", "not writable", "say read_only"]);
}

#[test]
fn direct_is_refused_where_a_file_system_has_it_not() {
    if !Path::new("/dev/shm").is_dir() {
        println!("SKIPPED: no file system without direct I/O is here");
        return;
    }
    let place = Place::in_folder(Path::new("/dev/shm"), "direct");
    place.refused("--disk path=disk,direct", 2, &["disk `disk0`", "direct I/O", "leave `direct`"]);
}

#[test]
fn what_the_policy_does_not_admit_is_denied_by_its_rule_before_anybody_is_connected_to() {
    let place = Place::new("policy");
    let permissive = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policy/src/builtin/permissive.toml"
    ));
    let permissive = permissive.unwrap();
    let any = r#"roots = "any", read_only = "any", foreign = "any", queues = "any""#;
    let policy = |name: &str, block: &str| {
        let changed = permissive.replacen(any, block, 1);
        assert_ne!(changed, permissive);
        std::fs::write(place.0.join(name), changed).unwrap();
    };
    policy("few", r#"roots = "any", read_only = "any", foreign = "any", queues = 1"#);
    policy("ours", r#"roots = "any", read_only = "any", queues = "any""#);
    policy("where", r#"roots = ["/nowhere"], read_only = "any", foreign = "any", queues = "any""#);
    policy("read", r#"roots = "any", read_only = "required", foreign = "any", queues = "any""#);
    let section = |name: &str, any: &str, one: &str| {
        let changed = permissive.replacen(any, one, 1);
        assert_ne!(changed, permissive, "{name}");
        std::fs::write(place.0.join(name), changed).unwrap();
    };
    let ours = r#"count = "any", queues = "any""#;
    let any = r#"count = "any", foreign = "any", queues = "any""#;
    section("cards", &format!("net = {{ {any}"), &format!("net = {{ {ours}"));
    section("streams", &format!("vsock = {{ {any}"), &format!("vsock = {{ {ours}"));
    section("egress", "egress = \"any\"", "egress = []");
    section("rate", "rate = \"any\"", "rate = { per_second = 9, total = 99 }");
    let listener = UnixListener::bind(place.0.join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    for (flags, rule) in [
        ("--policy few --disk path=disk,queues=2", "devices.block.queues"),
        ("--policy few --vhost-user socket=socket,kind=block,queues=2", "devices.block.queues"),
        ("--policy ours --vhost-user socket=socket,kind=block", "devices.block.foreign"),
        ("--policy where --vhost-user socket=socket,kind=block", "devices.block.roots"),
        ("--policy read --vhost-user socket=socket,kind=block", "devices.block.read_only"),
        ("--policy cards --vhost-user socket=socket,kind=net", "devices.net.foreign"),
        ("--policy streams --vhost-user socket=socket,kind=vsock", "devices.vsock.foreign"),
        ("--policy egress --vhost-user socket=socket,kind=net", "network.egress"),
        ("--policy rate --vhost-user socket=socket,kind=net", "network.rate"),
    ] {
        place.refused(flags, 1, &["the policy denies this VM", rule]);
    }
    assert!(listener.accept().is_err(), "a back end was connected to that the policy forbids");
}

/// Protects a confidential guest from an end in the middle of its boot. `measure` knows no policy:
/// it says what no policy can mend.
#[test]
fn a_confidential_guest_too_small_for_its_bounce_pool_is_told_what_to_use() {
    let place = Place::new("pool");
    for command in ["run", "measure"] {
        let small = format!("{command} --protection sev-snp --kernel k --memory 95M");
        let words = ["`memory` is 95M", "64M aside", "at least 96M"];
        place.ends(&mut place.command(&small), 2, &words);
    }
    // The starter policy lets a guest share half of its memory.
    let memory = |mib: u32| format!("run --protection sev-snp --kernel k --memory {mib}M");
    let words = ["`memory` is 127M", "64M", "50 percent", "`runtime.shared_percent`", "128M"];
    place.ends(&mut place.command(&memory(127)), 2, &words);
}

/// Protects the lock: what this host cannot give ends the start, unless the user wrote that it may
/// be missing.
#[test]
fn a_layer_that_a_disks_process_cannot_have_is_named_with_what_to_do() {
    if kvm().is_none() {
        return;
    }
    let place = Place::new("layers");
    let guest = "run --protection none --memory 64M --kernel k --disk path=disk";
    let mut command = place.command(guest);
    let no_landlock = refusing(&mut command, libc::SYS_landlock_create_ruleset, libc::ENOSYS);
    place.ends(no_landlock, 1, &["sandbox layer landlock", "optional"]);
    // The fence is a layer of processes that serve a confidential guest: here of another VMM's.
    let device = "device block --file disk --socket s --once --fence";
    let mut command = place.command(device);
    let no_fence = refusing(&mut command, libc::SYS_userfaultfd, libc::EPERM);
    place.ends(no_fence, 1, &["sandbox layer memory-fence", "optional"]);
}
