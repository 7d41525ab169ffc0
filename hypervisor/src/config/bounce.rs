//! Memory that a confidential Linux guest sets aside to share with its devices.
//!
//! A guest of SEV-SNP takes 6 % of its RAM, from 64 MiB to 1 GiB, for a pool through which all data
//! of its devices bounces (`mem_encrypt_setup_arch`, arch/x86/mm/mem_encrypt.c), and makes all of
//! the pool shared while it boots, whether it has devices or not (`swiotlb_update_mem_attributes`).
//! A guest without room for it does not boot; one whose policy does not let it share so much is
//! ended in the middle of its boot. Both are known before, and told then.

use super::{ConfigError, MIN_MEMORY};

/// Least and greatest size of the pool.
const LEAST: u64 = 64 << 20;
const GREATEST: u64 = 1 << 30;
/// Part of RAM that it is in between, in percent.
const PERCENT: u64 = 6;
/// What it is rounded up to: a segment of 128 slots of 2 KiB (`IO_TLB_SEGSIZE`).
const SEGMENT: u64 = 256 << 10;

/// Bytes that a confidential guest with this much RAM shares for its devices.
#[must_use]
pub fn bounce_pool(memory: u64) -> u64 {
    // Six hundredths of what no u64 of bytes overflows: RAM has at most 2^42.
    (memory.saturating_mul(PERCENT) / 100).clamp(LEAST, GREATEST).next_multiple_of(SEGMENT)
}

/// Refuses a confidential guest that has no room for its pool.
pub(super) fn check(memory: u64) -> Result<(), ConfigError> {
    let least = LEAST + MIN_MEMORY;
    if memory >= least {
        return Ok(());
    }
    let mib = |bytes: u64| bytes >> 20;
    let remedy = format!(
        "a confidential guest sets {}M aside to share with its devices, and needs {}M besides: \
         use at least {}M",
        mib(LEAST),
        mib(MIN_MEMORY),
        mib(least)
    );
    Err(ConfigError::invalid("memory", format!("{}M", mib(memory)), remedy))
}

/// The least RAM, in whole MiB, of which the pool is no more than `percent`; None where none is
/// enough.
#[must_use]
pub fn memory_for_pool(percent: u64) -> Option<u64> {
    // Up to 6 % a guest is so large that its pool grows no more; else the least pool decides.
    let pool = if percent > PERCENT { LEAST } else { GREATEST };
    let bytes = pool.checked_mul(100)?.checked_div(percent)?;
    let least = bytes.checked_next_multiple_of(1 << 20)?.max(LEAST + MIN_MEMORY);
    (least <= 1 << 42).then_some(least)
}

#[cfg(test)]
mod tests {
    use super::{bounce_pool, check, memory_for_pool};

    const MIB: u64 = 1 << 20;

    /// The sizes that Linux 6.12 takes.
    #[test]
    fn the_pool_is_six_percent_from_64_mib_to_1_gib() {
        for (memory, pool) in [(96, 64), (256, 64), (1024, 64), (32_768, 1024), (65_536, 1024)] {
            assert_eq!(bounce_pool(memory * MIB), pool * MIB, "{memory}");
        }
        // 4 GiB: 245.76 MiB, in whole segments.
        assert_eq!(bounce_pool(4096 * MIB), 245 * MIB + 3 * 256 * 1024 + 256 * 1024);
        assert_eq!(bounce_pool(u64::MAX), 1024 * MIB);
    }

    #[test]
    fn a_confidential_guest_without_room_for_its_pool_is_told_how_much_it_needs() {
        for memory in [32, 64, 95] {
            let said = check(memory * MIB).unwrap_err().to_string();
            assert!(said.starts_with("`memory` is") && said.contains("at least 96M"), "{said}");
        }
        assert!(check(96 * MIB).is_ok());
    }

    #[test]
    fn memory_that_is_told_as_a_remedy_is_one_and_less_is_none() {
        for percent in 1..=100 {
            let memory = memory_for_pool(percent).unwrap();
            let fits = |memory: u64| bounce_pool(memory) * 100 <= memory * percent;
            assert!(fits(memory) && check(memory).is_ok(), "{percent}: {memory}");
            let less = memory - MIB;
            assert!(!fits(less) || check(less).is_err(), "{percent}: {memory}");
        }
        assert_eq!(memory_for_pool(0), None);
        assert_eq!((memory_for_pool(50), memory_for_pool(25)), (Some(128 * MIB), Some(256 * MIB)));
    }
}
