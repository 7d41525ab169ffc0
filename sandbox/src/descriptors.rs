//! Closing every descriptor that is not wanted.

use super::refusal::{Refusal, refused};
use super::sys::{close_range, dup_above};
use rustix::fs::{Mode, OFlags, open};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::os::fd::RawFd;

/// Closes all descriptors but those in `keep`. Of the three standard ones, those not kept become
/// /dev/null, so that no later descriptor takes their number and with it what a panic prints.
pub(super) fn close_all_but(keep: &[RawFd]) -> Result<String, Refusal> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    if (0..3).any(|fd| !keep.contains(&fd)) {
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(refused("open(/dev/null)"))?;
        if !keep.contains(&0) {
            dup2_stdin(&null).map_err(refused("dup2(stdin)"))?;
        }
        if !keep.contains(&1) {
            dup2_stdout(&null).map_err(refused("dup2(stdout)"))?;
        }
        if !keep.contains(&2) {
            dup2_stderr(&null).map_err(refused("dup2(stderr)"))?;
        }
    }
    keep.extend([0, 1, 2]);
    close_gaps(&mut keep)?;
    Ok(format!("{} kept", keep.len()))
}

/// Closes all descriptors but the three standard ones and those in `keep`, when no file can be
/// opened any more.
pub(super) fn close_range_but(keep: &[RawFd]) -> Result<(), Refusal> {
    let keep = keep.iter().filter_map(|fd| u32::try_from(*fd).ok());
    close_gaps(&mut keep.chain([0, 1, 2]).collect())
}

/// Makes copies of standard input, which is /dev/null in a process that did not keep it, until no
/// number below `highest` is free; gives the first number behind all of them.
pub(super) fn fill_below(highest: RawFd) -> Result<RawFd, Refusal> {
    loop {
        let copy = dup_above(0, 0)?;
        if copy > highest {
            close_range(copy.cast_unsigned(), copy.cast_unsigned())?;
            return Ok(copy);
        }
    }
}

fn close_gaps(keep: &mut Vec<u32>) -> Result<(), Refusal> {
    keep.sort_unstable();
    keep.dedup();
    let mut next = 0;
    for &mut fd in &mut *keep {
        if fd > next {
            close_range(next, fd - 1)?;
        }
        next = fd.saturating_add(1);
    }
    close_range(next, u32::MAX)
}
