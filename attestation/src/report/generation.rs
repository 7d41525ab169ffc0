//! Processor generations and their TCB layouts.

use serde::{Deserialize, Serialize};

/// A generation of EPYC processors: one root key, one TCB layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generation {
    /// EPYC 7003, Zen 3: family 0x19, models 0x00 to 0x0f.
    Milan,
    /// EPYC 9004, 8004: also Bergamo and Siena.
    Genoa,
    /// EPYC 9005, Zen 5: family 0x1a, models 0x00 to 0x1f.
    Turin,
    /// EPYC Zen 6. No root key is published: its reports are recognised and refused.
    Venice,
}

impl Generation {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::Milan, Self::Genoa, Self::Turin, Self::Venice];

    /// The name in certificates and in the key server's addresses.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
            Self::Venice => "Venice",
        }
    }

    /// Why signatures under this generation's keys prove little, where that is so: a verifier
    /// refuses the generation unless it is allowed by name.
    ///
    /// Milan: arXiv 2605.12990 (2026) extracts the seed that every endorsement key of a chip is
    /// derived from, in software.
    #[must_use]
    pub const fn broken_root(self) -> Option<&'static str> {
        match self {
            Self::Milan => {
                Some("its root seed was extracted in 2026, so its reports can be forged")
            }
            Self::Genoa | Self::Turin | Self::Venice => None,
        }
    }

    /// The generation of a processor by CPUID family and model (both combined with their
    /// extensions). Source: AMD CPUID specification; Linux arch/x86/kernel/cpu/amd.c.
    #[must_use]
    pub const fn from_cpuid(family: u8, model: u8) -> Option<Self> {
        // Ranges, because models are given out in blocks of 16 to a die; an unknown model is no
        // generation, never the nearest one.
        match (family, model) {
            (0x19, 0x00..=0x0f) => Some(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some(Self::Genoa),
            (0x1a, 0x00..=0x1f) => Some(Self::Turin),
            (0x1a, 0x50..=0x57 | 0x90..=0xaf | 0xc0..=0xc7) => Some(Self::Venice),
            _ => None,
        }
    }

    /// Length of the chip's identifier in its certificate, bytes.
    #[must_use]
    pub const fn hwid_length(self) -> usize {
        match self {
            Self::Milan | Self::Genoa => 64,
            Self::Turin | Self::Venice => 8,
        }
    }

    /// Whether a product name of a certificate, such as `Milan-B0`, is of this generation.
    #[must_use]
    pub fn matches_product(self, product: &str) -> bool {
        // A name that only begins like the generation's (`MilanX`) is another.
        product
            .strip_prefix(self.name())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }

    /// What each byte of a TCB_VERSION is; `None` is reserved.
    #[must_use]
    pub const fn tcb_layout(self) -> [Option<&'static str>; 8] {
        const BL: Option<&str> = Some("bootloader");
        const TEE: Option<&str> = Some("tee");
        const SNP: Option<&str> = Some("snp");
        const UCODE: Option<&str> = Some("microcode");
        const FMC: Option<&str> = Some("fmc");
        match self {
            Self::Milan | Self::Genoa => [BL, TEE, None, None, None, None, SNP, UCODE],
            Self::Turin => [FMC, BL, TEE, SNP, None, None, None, UCODE],
            // Boot loader and microcode are not part of it.
            Self::Venice => [FMC, None, TEE, SNP, None, None, None, None],
        }
    }
}

/// A TCB_VERSION: eight security patch levels, laid out by generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tcb(pub [u8; 8]);

impl Tcb {
    /// The components that this generation has, with their names, in the order of the bytes.
    pub fn components(self, generation: Generation) -> impl Iterator<Item = (&'static str, u8)> {
        generation
            .tcb_layout()
            .into_iter()
            .zip(self.0)
            .filter_map(|(name, value)| name.map(|name| (name, value)))
    }

    /// The first component in which `self` is above `other`.
    #[must_use]
    pub fn first_above(
        self,
        other: Self,
        generation: Generation,
    ) -> Option<(&'static str, u8, u8)> {
        // Component by component, never the eight bytes as one number: a TCB is at least another
        // only when each part is.
        self.components(generation)
            .zip(other.components(generation))
            .find(|((_, mine), (_, theirs))| mine > theirs)
            .map(|((name, mine), (_, theirs))| (name, mine, theirs))
    }

    /// Whether every reserved byte is zero.
    #[must_use]
    pub fn reserved_is_zero(self, generation: Generation) -> bool {
        generation.tcb_layout().into_iter().zip(self.0).all(|(name, v)| name.is_some() || v == 0)
    }

    /// `bootloader 4, tee 0, snp 24, microcode 219`.
    #[must_use]
    pub fn describe(self, generation: Generation) -> String {
        self.components(generation)
            .map(|(name, value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
