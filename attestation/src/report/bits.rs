//! The bits of the guest policy and of the platform information, and which way each one is safe.
//!
//! Source: SEV-SNP firmware ABI (AMD 56860), tables of POLICY and PLATFORM_INFO.

/// One named bit of a 64-bit field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bit {
    /// Number of the bit.
    pub number: u8,
    /// Name in policies and output.
    pub name: &'static str,
    /// What it means when it is set.
    pub meaning: &'static str,
    /// Whether a set bit weakens the guest (`true`) or strengthens it (`false`): which way a rule
    /// has to be written to be a demand.
    pub weakens: bool,
}

impl Bit {
    /// The mask of this bit in its 64-bit field.
    #[must_use]
    pub const fn mask(self) -> u64 {
        1u64.wrapping_shl(self.number as u32)
    }
}

const fn bit(number: u8, name: &'static str, weakens: bool, meaning: &'static str) -> Bit {
    Bit { number, name, meaning, weakens }
}

/// Bit 17 of a guest policy, which the firmware requires to be one.
pub const POLICY_MUST_BE_ONE: u64 = 1 << 17;

/// The bits of a guest policy above the ABI version in bits 15:0.
pub const POLICY_BITS: [Bit; 9] = [
    bit(16, "smt", true, "the guest may run with SMT on"),
    bit(18, "migrate-ma", true, "a migration agent may be associated"),
    bit(19, "debug", true, "the host may read and write the guest's memory"),
    bit(20, "single-socket", false, "the guest runs on one socket only"),
    bit(21, "cxl", true, "CXL devices and memory may be present"),
    bit(22, "mem-aes-256-xts", false, "memory encryption must be AES-256-XTS"),
    bit(23, "rapl-dis", false, "power measurement must be off"),
    bit(24, "ciphertext-hiding", false, "the host must not see ciphertext of DRAM"),
    bit(25, "page-swap-disable", false, "the host cannot move or swap out the guest's pages"),
];

/// The bits of PLATFORM_INFO.
pub const PLATFORM_BITS: [Bit; 8] = [
    bit(0, "smt", true, "SMT is on"),
    bit(1, "tsme", false, "all memory is encrypted transparently"),
    bit(2, "ecc", false, "memory has ECC"),
    bit(3, "rapl-dis", false, "power measurement is off"),
    bit(4, "ciphertext-hiding", false, "ciphertext of DRAM is hidden from the host"),
    bit(5, "alias-check-complete", false, "no aliased memory since the last reset"),
    bit(6, "iommu-write-safe", false, "the IOMMU cannot be made to write guest pages"),
    bit(7, "tio", false, "SEV trusted I/O is on"),
];

/// The bits of `value` that no entry of `known` names.
#[must_use]
pub fn unknown_bits(value: u64, known: &[Bit]) -> u64 {
    known.iter().fold(value, |rest, bit| rest & !bit.mask())
}

/// The bits of a guest policy that this version does not know (ABI version and bit 17 excluded).
#[must_use]
pub fn unknown_policy_bits(policy: u64) -> u64 {
    unknown_bits(policy & !(0xffff | POLICY_MUST_BE_ONE), &POLICY_BITS)
}

/// The names of the set bits, for people.
#[must_use]
pub fn set_names(value: u64, known: &[Bit]) -> String {
    let names: Vec<_> =
        known.iter().filter(|bit| value & bit.mask() != 0).map(|bit| bit.name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
