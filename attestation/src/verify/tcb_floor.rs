//! Floors under the security patch levels of a report: of the user's own, and published ones.

use crate::report::{Generation, Tcb};
use serde::{Deserialize, Serialize};

/// Least security patch levels. Absent components are not constrained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "named as the components of a TCB_VERSION")]
pub struct TcbFloor {
    pub fmc: Option<u8>,
    pub bootloader: Option<u8>,
    pub tee: Option<u8>,
    pub snp: Option<u8>,
    pub microcode: Option<u8>,
}

impl TcbFloor {
    fn component(&self, name: &str) -> Option<u8> {
        match name {
            "fmc" => self.fmc,
            "bootloader" => self.bootloader,
            "tee" => self.tee,
            "snp" => self.snp,
            // Names come from `tcb_layout` and from the list below only, so what is left is the
            // microcode.
            _ => self.microcode,
        }
    }

    /// The first component of `tcb` below this floor: name, value, floor.
    #[must_use]
    pub fn first_below(&self, tcb: Tcb, generation: Generation) -> Option<(&'static str, u8, u8)> {
        tcb.components(generation).find_map(|(name, value)| {
            let floor = self.component(name)?;
            (value < floor).then_some((name, value, floor))
        })
    }

    /// Whether any report could be below this floor.
    // A floor of zeros is under every report, and so proves nothing (`super::proven`).
    pub(super) fn is_above_zero(&self, generation: Generation) -> bool {
        self.first_below(Tcb::default(), generation).is_some()
    }

    /// A component that is constrained but does not exist on this generation.
    #[must_use]
    pub fn missing_component(&self, generation: Generation) -> Option<&'static str> {
        // Told as an error: a floor for a part that the generation has not would hold of every
        // report.
        ["fmc", "bootloader", "tee", "snp", "microcode"].into_iter().find(|name| {
            self.component(name).is_some()
                && !generation.tcb_layout().into_iter().flatten().any(|known| known == *name)
        })
    }
}

/// Floors for one generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "named as the TCB fields of a report")]
pub struct TcbFloors {
    pub reported: Option<TcbFloor>,
    pub committed: Option<TcbFloor>,
    pub launch: Option<TcbFloor>,
    pub current: Option<TcbFloor>,
}

/// A published floor: the numbers of one AMD bulletin.
///
/// Only numbers that two independent readers of the bulletin have published alike are here; AMD's
/// own pages were not at hand. Where there is none for a generation the preset cannot be checked,
/// and a report of it is refused unless the appraisal states a floor of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcbPreset {
    /// AMD-SB-3019 (microcode signature verification): SNP 0x18 on Milan, 0x17 on Genoa.
    #[serde(rename = "amd-sb-3019")]
    AmdSb3019,
    /// AMD-SB-3020 (race in the set-up of the RMP): SNP 0x1b on Genoa, 4 on Turin. Its fix comes
    /// with microcode, which one reader quotes and which [`Self::AmdSb3027`] demands at least as
    /// high: ask for both.
    #[serde(rename = "amd-sb-3020")]
    AmdSb3020,
    /// AMD-SB-3027 (corrupted stack pointer from a sibling thread): microcode 0x56 on Genoa (model
    /// 0x11) stepping 1, 0x51 on stepping 2 (Genoa-X), 0x51 on Turin (model 2) stepping 1.
    #[serde(rename = "amd-sb-3027")]
    AmdSb3027,
}

impl TcbPreset {
    /// The name in an appraisal.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AmdSb3019 => "amd-sb-3019",
            Self::AmdSb3020 => "amd-sb-3020",
            Self::AmdSb3027 => "amd-sb-3027",
        }
    }

    /// The floor of the preset for a processor; none where no number is known here. `cpuid` is
    /// family, model and stepping of the report.
    #[must_use]
    pub fn floor(self, generation: Generation, cpuid: [u8; 3]) -> Option<TcbFloor> {
        const NONE: TcbFloor =
            TcbFloor { fmc: None, bootloader: None, tee: None, snp: None, microcode: None };
        let snp = |level| Some(TcbFloor { snp: Some(level), ..NONE });
        let microcode = |level| Some(TcbFloor { microcode: Some(level), ..NONE });
        match (self, generation, cpuid) {
            (Self::AmdSb3019, Generation::Milan, _) => snp(0x18),
            (Self::AmdSb3019, Generation::Genoa, _) => snp(0x17),
            (Self::AmdSb3020, Generation::Genoa, _) => snp(0x1b),
            (Self::AmdSb3020, Generation::Turin, _) => snp(0x04),
            (Self::AmdSb3027, Generation::Genoa, [0x19, 0x11, 1]) => microcode(0x56),
            (Self::AmdSb3027, Generation::Genoa, [0x19, 0x11, 2]) => microcode(0x51),
            (Self::AmdSb3027, Generation::Turin, [0x1a, 0x02, 1]) => microcode(0x51),
            _ => None,
        }
    }
}

/// Floors under the TCB: by generation, and published ones by their bulletin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[allow(missing_docs, reason = "one entry for the generation of the same name")]
pub struct TcbRules {
    pub milan: TcbFloors,
    pub genoa: TcbFloors,
    pub turin: TcbFloors,
    pub venice: TcbFloors,
    /// Published floors, applied to the reported, committed and launch TCB.
    pub presets: Vec<TcbPreset>,
    /// Refuse provisional firmware: committed TCB and version must equal the current ones.
    pub committed_only: bool,
}

impl TcbRules {
    pub(super) const fn floors(&self, generation: Generation) -> &TcbFloors {
        match generation {
            Generation::Milan => &self.milan,
            Generation::Genoa => &self.genoa,
            Generation::Turin => &self.turin,
            Generation::Venice => &self.venice,
        }
    }
}
