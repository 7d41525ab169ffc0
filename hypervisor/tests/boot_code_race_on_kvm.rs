//! The boot code on /dev/kvm while another description of its staging memory changes it.
//!
//! A file of its own: the test looks for guest RAM among this process's files, so no other VM may
//! be here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

use casemate_layout::Termination;
use casemate_test_support::boot_code::{BOOTED, CODE, STATUS, good_plan, kernel, refused};
use casemate_test_support::guests::{kvm, run};
use std::os::unix::fs::FileExt;

/// Guest RAM is a memfd of the process that runs the VM: a description of it that another process
/// of the host opened.
fn guest_ram(process: u32) -> Option<std::fs::File> {
    let fds = std::fs::read_dir(format!("/proc/{process}/fd")).ok()?;
    fds.flatten().map(|entry| entry.path()).find_map(|path| {
        let target = std::fs::read_link(&path).ok()?;
        let is_ram = target.to_string_lossy().contains("memfd:guest-ram");
        is_ram.then(|| std::fs::File::options().write(true).open(path).ok()).flatten()
    })
}

const WHERE: &str = "CASEMATE_FLIP";

/// The other process: changes a byte of guest memory, and changes it back, for ever. Run by the
/// test below only.
#[test]
fn flip_a_byte_of_another_process_when_asked_to() {
    let Ok(place) = std::env::var(WHERE) else { return };
    let numbers: Vec<u64> = place.split(',').map(|number| number.parse().unwrap()).collect();
    let [process, offset, good] = numbers[..] else { return };
    let good = u8::try_from(good).unwrap();
    while std::path::Path::new(&format!("/proc/{process}")).exists() {
        let Some(ram) = guest_ram(u32::try_from(process).unwrap()) else { continue };
        for _ in 0..200 {
            // A VM that has ended meanwhile makes no difference.
            let _ = ram.write_all_at(&[good ^ 1], offset);
            let _ = ram.write_all_at(&[good], offset);
        }
    }
}

/// Ends the other process with the test, however that ends.
struct Other(std::process::Child);
impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A byte of the kernel's code changes and changes back all the time, by another process. Either
/// the copy has the right bytes, or it is refused; never does other code run.
#[test]
fn staging_that_another_process_changes_while_the_boot_code_reads_is_refused_or_harmless() {
    if kvm().is_none() {
        return;
    }
    let plan = good_plan("64M", kernel());
    let staged = plan.staging().iter().find(|staged| staged.what == "kernel").unwrap();
    let (offset, good) = (staged.gpa + CODE as u64 + 5, staged.bytes[CODE + 5]);
    assert_eq!(good, STATUS);
    let other = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "flip_a_byte_of_another_process_when_asked_to"])
        .env(WHERE, format!("{},{offset},{good}", std::process::id()))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _other = Other(other);
    let rounds = std::env::var("CASEMATE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let (mut booted, mut refusals) = (0, 0);
    for _ in 0..rounds {
        let Some(ran) = run(&plan) else { break };
        match ran.stop {
            BOOTED => booted += 1,
            other => {
                assert_eq!(other, refused(Termination::KernelHash));
                refusals += 1;
            }
        }
    }
    println!("booted {booted}, refused {refusals}");
}
