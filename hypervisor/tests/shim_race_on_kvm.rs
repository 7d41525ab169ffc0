//! The shim on /dev/kvm while another description of its staging memory changes it.
//!
//! A file of its own: the test looks for guest RAM among this process's files, so no other VM may be here.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use casemate_layout::Termination;
use common::shim::{BOOTED, CODE, STATUS, good_plan, kernel, refused};
use common::{kvm, run};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Guest RAM is a memfd of this process: a second description of it is what another process of the host would have.
fn guest_ram() -> Option<std::fs::File> {
    let fds = std::fs::read_dir("/proc/self/fd").ok()?;
    fds.flatten().map(|entry| entry.path()).find_map(|path| {
        let target = std::fs::read_link(&path).ok()?;
        let is_ram = target.to_string_lossy().contains("memfd:guest-ram");
        is_ram.then(|| std::fs::File::options().write(true).open(path).ok()).flatten()
    })
}

/// Bytes of the kernel's code change and change back all the time. Either the copy has the right bytes, or it is refused;
/// never does other code run.
#[test]
fn staging_that_changes_while_the_shim_reads_is_refused_or_harmless() {
    if kvm().is_none() {
        return;
    }
    let plan = good_plan("64M", kernel());
    let staged = plan.staging().iter().find(|staged| staged.what == "kernel").unwrap();
    let (offset, good) = (staged.gpa + CODE as u64 + 5, staged.bytes[CODE + 5]);
    assert_eq!(good, STATUS);
    let stop = AtomicBool::new(false);
    let mut outcomes = [0, 0];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let Some(ram) = guest_ram() else { continue };
                for _ in 0..200 {
                    // A VM that has ended meanwhile makes no difference.
                    let _ = ram.write_all_at(&[good ^ 1], offset);
                    let _ = ram.write_all_at(&[good], offset);
                }
            }
        });
        for _ in 0..12 {
            let Some(ran) = run(&plan) else { break };
            match ran.stop {
                BOOTED => outcomes[0] += 1,
                other => {
                    assert_eq!(other, refused(Termination::KernelHash));
                    outcomes[1] += 1;
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("booted {}, refused {}", outcomes[0], outcomes[1]);
}
