//! Signals that this process ignores, as the kernel's file says.

/// The signals that this process ignores, a bit for each from 1 on (proc(5), SigIgn). Where that
/// cannot be read none is taken to be.
#[must_use]
pub fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
