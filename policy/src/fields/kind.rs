//! Kinds of fields: syntax in documents and inputs, and which lattice they are.

use crate::lattice::{
    Bits, ByteSet, Choice, EgressSet, Forbidden, Lattice, Limit, Patterns, Range, Required,
    TcbFloors,
};
use crate::rule::Rule;

/// Names of the bits of a mask.
#[derive(Debug, PartialEq, Eq)]
pub struct BitNames {
    /// Bit number, from 0, and name.
    pub names: &'static [(u8, &'static str)],
    /// Bits that are not flags: they are never constrained.
    pub ignore: u64,
}

/// The kind of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Least number that is admitted.
    Floor,
    /// Greatest number that is admitted.
    Ceiling,
    /// Least and greatest number.
    Interval,
    /// Least version `major.minor.patch`.
    Version,
    /// A time window, both ends included, seconds inside.
    Window,
    /// Required, forbidden or any.
    Flag,
    /// Subset of a closed list.
    Choice(&'static [&'static str]),
    /// Highest level of an ordered list, strictest first.
    Level(&'static [&'static str]),
    /// Allowed byte strings of this length.
    BytesAllowed(u8),
    /// Denied byte strings of this length.
    BytesDenied(u8),
    /// Allowed values of HOST_DATA at a launch: 32 bytes, or the word `initdata`.
    HostData,
    /// Allowed texts (anchored globs); for a list, of every element.
    Names {
        /// Whether the fact is a list.
        list: bool,
    },
    /// Directories below which a path must lie; and these words, each for what has no path.
    Roots(&'static [&'static str]),
    /// Forbidden elements of a list (anchored globs).
    NamesForbidden,
    /// Required elements of a list.
    NamesRequired,
    /// Bits that must and must not be set.
    Bits(&'static BitNames),
    /// Security patch level floors for each generation.
    Tcb,
    /// Network end points: addresses, ports, protocol.
    Egress,
    /// Uses in a second and in all.
    Limit,
    /// What happens to a denied request, strictest first. Constrains no fact.
    Action(&'static [&'static str]),
    /// [`Kind::Ceiling`] of every element of a list.
    CeilingEach,
    /// [`Kind::Flag`] of every element of a list.
    FlagEach,
}

/// Protection modes of a guest, the stricter first.
pub const PROTECTIONS: &[&str] = &["sev-snp", "none"];
/// Values of a flag, by index.
pub const FLAG: &[&str] = &["forbidden", "required"];

impl Kind {
    /// One text out of anchored globs.
    pub const NAMES: Self = Self::Names { list: false };

    /// The length of the byte strings of this kind; none where it has none.
    #[must_use]
    pub const fn byte_len(self) -> Option<u8> {
        match self {
            Self::BytesAllowed(len) | Self::BytesDenied(len) => Some(len),
            Self::HostData => Some(32),
            _ => None,
        }
    }

    /// Whether the fact is a list of which every element is decided.
    #[must_use]
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::Names { list: true }
                | Self::Roots(_)
                | Self::NamesForbidden
                | Self::NamesRequired
                | Self::CeilingEach
                | Self::FlagEach
                | Self::Egress
        )
    }

    /// The loosest rule of this kind.
    #[must_use]
    pub fn any(self) -> Rule {
        // The top of a range reaches beyond the list of levels: "any" level is the last of them.
        match self {
            Self::Level(names) | Self::Action(names) => Rule::Range(Range::at_most(
                u64::try_from(names.len()).unwrap_or(0).saturating_sub(1),
            )),
            _ => self.extreme(true),
        }
    }

    /// The rule of this kind that admits nothing.
    #[must_use]
    pub fn nothing(self) -> Rule {
        self.extreme(false)
    }

    fn extreme(self, top: bool) -> Rule {
        fn pick<L: Lattice>(top: bool) -> L {
            if top { L::top() } else { L::bottom() }
        }
        match self {
            // Kinds share lattices: what differs between a floor and a ceiling is only how
            // documents write them.
            Self::Floor | Self::Ceiling | Self::CeilingEach | Self::Interval | Self::Version => {
                Rule::Range(pick::<Range>(top))
            }
            Self::Window | Self::Level(_) | Self::Action(_) => Rule::Range(pick::<Range>(top)),
            Self::Flag | Self::FlagEach | Self::Choice(_) => Rule::Choice(pick::<Choice>(top)),
            Self::BytesAllowed(_) | Self::BytesDenied(_) | Self::HostData => {
                Rule::Bytes(pick::<ByteSet>(top))
            }
            Self::Names { .. } | Self::Roots(_) => Rule::Names(pick::<Patterns>(top)),
            Self::NamesForbidden => Rule::Forbidden(pick::<Forbidden>(top)),
            Self::NamesRequired => Rule::Required(pick::<Required>(top)),
            Self::Bits(_) => Rule::Bits(pick::<Bits>(top)),
            Self::Tcb => Rule::Tcb(pick::<TcbFloors>(top)),
            Self::Egress => Rule::Egress(pick::<EgressSet>(top)),
            Self::Limit => Rule::Limit(pick::<Limit>(top)),
        }
    }

    /// How the kind is ordered, strict to loose.
    #[must_use]
    pub const fn order(self) -> &'static str {
        match self {
            Self::Floor | Self::Version => "a higher floor is stricter",
            Self::Ceiling | Self::CeilingEach => "a lower ceiling is stricter",
            Self::Interval | Self::Window => "a narrower interval is stricter",
            Self::Flag | Self::FlagEach => {
                "`required` and `forbidden` are stricter than `any`, and incomparable"
            }
            Self::Choice(_)
            | Self::BytesAllowed(_)
            | Self::HostData
            | Self::Names { .. }
            | Self::Roots(_) => "a smaller set is stricter",
            Self::Level(_) | Self::Action(_) => "strictest first in the list",
            Self::BytesDenied(_) | Self::NamesForbidden => "more members are stricter",
            Self::NamesRequired => "more required elements are stricter",
            Self::Bits(_) => "more `must` bits and fewer `may` bits are stricter",
            Self::Tcb => "higher floors and fewer generations are stricter",
            Self::Egress => "a smaller set of end points is stricter",
            Self::Limit => "lower ceilings are stricter",
        }
    }

    /// What a document has to write, for error messages and the reference.
    #[must_use]
    pub fn syntax(self) -> String {
        let list = |names: &[&str]| {
            names.iter().map(|n| format!("\"{n}\"")).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Floor | Self::Ceiling | Self::CeilingEach => {
                "a whole number from 0 to 2^63-1".into()
            }
            Self::Interval => "a whole number, or { min = N, max = N }".into(),
            Self::Version => "a version such as \"6.11\" or \"1.55.29\"".into(),
            Self::Window => {
                "{ from = \"2026-01-01T00:00:00Z\", until = \"2027-01-01T00:00:00Z\" }".into()
            }
            Self::Flag | Self::FlagEach => "\"required\" or \"forbidden\"".into(),
            Self::Choice(names) => format!("a list of {}", list(names)),
            Self::Level(names) | Self::Action(names) => format!("one of {}", list(names)),
            Self::BytesAllowed(len) | Self::BytesDenied(len) => {
                format!("a list of hexadecimal strings of {len} bytes, or \"unset\" for all zero")
            }
            Self::HostData => "a list of hexadecimal strings of 32 bytes, \"unset\" for all zero, \
                               or \"initdata\" for a guest whose initdata holds this document"
                .into(),
            Self::Names { .. } | Self::NamesForbidden => {
                "a list of texts, each with at most one `*`, at its end".into()
            }
            Self::NamesRequired => "a list of texts".into(),
            Self::Roots([]) => "a list of absolute directories".into(),
            Self::Roots(words) => format!("a list of absolute directories, or {}", list(words)),
            Self::Bits(bits) => {
                let names: Vec<&str> = bits.names.iter().map(|(_, name)| *name).collect();
                format!("{{ must = [..], may = [..] }} of {}, or \"bitN\"", list(&names))
            }
            Self::Tcb => {
                "{ milan|genoa|turin|venice = { fmc, bootloader, tee, snp, microcode } }".into()
            }
            Self::Egress => "a list of { cidr = \"10.0.0.0/8\", ports = N | [N, N] | \"any\", \
                             protocol = \"tcp\" | \"udp\" | \"icmp\" }"
                .into(),
            Self::Limit => "{ per_second = N, total = N }".into(),
        }
    }
}
