//! What a VM is set up by before anything of its guest is known: numbers of its configuration.
//!
//! KVM makes a VM, its memory slots and vCPUs from these alone, so the vmm process can be at it
//! while its supervisor still reads, hashes and asks the policy. A plan for another shape is never
//! loaded into that VM ([`LaunchPlan::shape`]).

use super::plan::LaunchPlan;
use crate::config::{MAX_VCPUS, SnpLaunch, VmConfig};
use crate::memory::{RamMap, RangeError};

/// The shape of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Where the guest has RAM.
    pub ram: RamMap,
    /// How many vCPUs it has.
    pub vcpus: u32,
    /// What a confidential VM is initialised with; None for a plain one.
    pub snp: Option<SnpShape>,
}

/// What KVM_SEV_INIT2 and its like are told. The guest policy and all that is measured come later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnpShape {
    /// VMSA features beyond SNP itself.
    pub vmsa_features: u64,
    /// Position of the C-bit.
    pub c_bit: u8,
    /// Whether there are certificates to be asked for.
    pub certs: bool,
}

impl From<&SnpLaunch> for SnpShape {
    fn from(launch: &SnpLaunch) -> Self {
        let SnpLaunch { vmsa_features, c_bit, .. } = *launch;
        Self { vmsa_features, c_bit, certs: launch.certs.is_some() }
    }
}

impl LaunchPlan {
    /// The shape of the VM that this plan is for.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let snp = self.snp.as_ref().map(SnpShape::from);
        Shape { ram: self.ram.clone(), vcpus: self.vcpus, snp }
    }
}

/// Largest RAM of a shape that is decoded: what a plan's bytes may have.
const MAX_RAM: u64 = 1 << 42;
/// Flags in the bytes.
const SNP: u8 = 1;
const CERTS: u8 = 2;

impl Shape {
    /// Bytes of a shape.
    pub const BYTES: usize = 22;

    /// Of the VM that a configuration asks for.
    ///
    /// # Errors
    /// [`RangeError`] where no memory has that size.
    pub fn of(config: &VmConfig) -> Result<Self, RangeError> {
        let snp = config.snp.as_ref().map(SnpShape::from);
        Ok(Self { ram: RamMap::new(config.memory)?, vcpus: config.vcpus, snp })
    }

    /// Size of RAM, vCPUs, flags, VMSA features, C-bit; little-endian, zeros where there is none.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let snp = self.snp.unwrap_or(SnpShape { vmsa_features: 0, c_bit: 0, certs: false });
        let flags = if self.snp.is_some() { SNP } else { 0 } | if snp.certs { CERTS } else { 0 };
        let fields = (self.ram.size().to_le_bytes().into_iter())
            .chain(self.vcpus.to_le_bytes())
            .chain([flags, snp.c_bit])
            .chain(snp.vmsa_features.to_le_bytes());
        let mut bytes = [0; Self::BYTES];
        for (to, byte) in bytes.iter_mut().zip(fields) {
            *to = byte;
        }
        bytes
    }

    /// The shape in bytes; None where no VM has such a one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (ram, rest) = bytes.split_first_chunk()?;
        let (vcpus, rest) = rest.split_first_chunk()?;
        let ([flags, c_bit], features) = rest.split_first_chunk()?;
        let ram = Some(u64::from_le_bytes(*ram)).filter(|ram| *ram <= MAX_RAM)?;
        let vcpus = u32::from_le_bytes(*vcpus);
        let vmsa_features = u64::from_le_bytes(*features.first_chunk()?);
        let snp = match (*flags, *c_bit, vmsa_features) {
            (0, 0, 0) => None,
            (flags, c_bit, vmsa_features) if flags == SNP || flags == SNP | CERTS => {
                Some(SnpShape { vmsa_features, c_bit, certs: flags != SNP })
            }
            _ => return None,
        };
        let ram = RamMap::new(ram).ok()?;
        (1..=MAX_VCPUS).contains(&vcpus).then_some(Self { ram, vcpus, snp })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_shape_survives_the_trip() {
        let snp = SnpShape { vmsa_features: 1 << 9 | 1 << 5, c_bit: 51, certs: true };
        let without = SnpShape { certs: false, ..snp };
        for snp in [None, Some(snp), Some(without)] {
            let shape = Shape { ram: RamMap::new(5 << 30).unwrap(), vcpus: 64, snp };
            assert_eq!(Shape::from_bytes(&shape.to_bytes()), Some(shape));
        }
    }

    proptest! {
        #[test]
        fn whatever_decodes_has_these_bytes_alone(
            bytes in proptest::array::uniform22(0_u8..4)
        ) {
            if let Some(shape) = Shape::from_bytes(&bytes) {
                prop_assert_eq!(shape.to_bytes(), bytes);
            }
        }
    }
}
