//! The guest policy of a launch (AMD 56860, "Guest Policy"): bits that a host names before it
//! launches and that every report of the guest repeats.

/// The default of QEMU and of this program: SMT allowed, bit 17 as it must be, nothing else; ABI
/// version 0.0.
pub const DEFAULT: u64 = 0x3_0000;
/// Bit 17: the firmware refuses a policy in which it is not one.
pub const RESERVED_ONE: u64 = 1 << 17;
/// A migration agent may be associated: KVM never allows it.
pub const MIGRATE_MA: u64 = 1 << 18;
/// The host may read and write guest memory for debugging.
pub const DEBUG: u64 = 1 << 19;
/// Bits that have a meaning, from the ABI version in 15:0 up to bit 25.
pub const KNOWN: u64 = 0x03ff_ffff;
