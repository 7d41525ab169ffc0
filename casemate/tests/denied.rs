//! A denial of the policy, while the process that would run the guest has already set its VM up: it
//! has nothing of the guest, and nothing of it stays.
#![cfg(feature = "vm")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "test code")]

use casemate_test_support::bzimage::bzimage;
use rustix::io::Errno;
use rustix::process::{WaitOptions, getpid, set_child_subreaper, wait};
use std::fs::{File, metadata, read_dir, read_link, read_to_string};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A folder, removed at the end.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks again until there is an answer.
fn until<T>(mut answer: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = answer() {
            return answer;
        }
        assert!(Instant::now() < deadline, "it did not come");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The children of process `pid`.
fn children(pid: u32) -> Vec<u32> {
    let text = read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Whether a process runs a program in memory, as every confined one does.
fn is_image(pid: u32) -> bool {
    read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|program| program.to_string_lossy().contains("memfd:"))
}

/// Size and blocks in use of the memory files of this name that a process has open.
fn memory_files(pid: u32, name: &str) -> Vec<(u64, u64)> {
    let Ok(all) = read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let named = all.flatten().filter(|fd| {
        read_link(fd.path()).is_ok_and(|to| to.to_string_lossy().contains(&format!("memfd:{name}")))
    });
    let told = named.filter_map(|fd| metadata(fd.path()).ok());
    told.map(|file| (file.len(), file.blocks())).collect()
}

fn start(place: &Path, policy: &str, name: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["run", "--protection", "none", "--memory", "64M", "--kernel", "kernel"])
        .args(["--policy", policy, "--decision-log", "log", "--name", name])
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Protects what the policy's reference says: a denial comes before a byte of the guest has reached
/// the process that would run it, and ends that process. The decision is held up by the log's lock
/// file, which somebody else has locked, so that one can look. Needs /dev/kvm, and root to look
/// into a process that is another user's. Cannot tell of SEV-SNP's firmware; `snp_launch_calls.rs`
/// does.
#[test]
fn a_denied_vm_never_had_a_byte_of_its_guest_and_leaves_nothing() {
    if File::options().read(true).write(true).open("/dev/kvm").is_err() {
        println!("SKIPPED: no /dev/kvm");
        return;
    }
    // Who loses its parent becomes a child of this process, where it cannot hide.
    set_child_subreaper(Some(getpid())).unwrap();
    let path = std::env::temp_dir().join(format!("casemate-denied-{}", std::process::id()));
    let place = Place(path);
    std::fs::create_dir_all(&place.0).unwrap();
    std::fs::write(place.0.join("kernel"), bzimage(&[])).unwrap();
    let name = format!("denied-{}", std::process::id());
    let first = start(&place.0, "builtin:strict", &name).wait_with_output().unwrap();
    assert_eq!(first.status.code(), Some(1), "the first one makes the log");
    for round in 0..3 {
        let lock = File::options().append(true).open(place.0.join("log.lock")).unwrap();
        lock.lock().unwrap();
        let casemate = start(&place.0, "builtin:strict", &name);
        let vmm = until(|| children(casemate.id()).into_iter().find(|pid| is_image(*pid)));
        let root = rustix::process::geteuid().is_root();
        if root {
            // Every vCPU is there and the process is confined: it has come as far as it can.
            let waits = || read_to_string(format!("/proc/{vmm}/status")).unwrap_or_default();
            until(|| {
                let set_up = !memory_files(vmm, "guest-ram").is_empty();
                (set_up && waits().contains("CapEff:\t0000000000000000")).then_some(())
            });
            assert_eq!(memory_files(vmm, "guest-ram"), [(64 << 20, 0)], "a page was touched");
            assert_eq!(memory_files(vmm, "plan"), [(0, 0)], "a plan was handed over");
        }
        drop(lock);
        let output = casemate.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("the policy denies this VM"), "{text}");
        assert!(output.stdout.is_empty());
        let left = wait(WaitOptions::NOHANG).err();
        assert_eq!(left, Some(Errno::CHILD), "round {round}: a process is left");
        assert!(!Path::new(&format!("/proc/{vmm}")).exists(), "round {round}: {vmm} lives");
        let names = read_to_string("/proc/net/unix").unwrap();
        assert!(!names.contains(&name), "round {round}: the name is held");
    }
    assert_eq!(read_dir(&place.0).unwrap().count(), 3, "kernel, log and its lock");
}
