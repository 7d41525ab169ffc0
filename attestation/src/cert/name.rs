//! Distinguished names: exact bytes, all RDNs, never a substring.
//!
//! AMD's certificates use one shape of name that differs in the common name only. The MODEL
//! authority uses the same shape with other unit and organisation, and the word MODEL in every
//! common name.

use crate::report::Generation;
use std::sync::OnceLock;

/// Who signs a chain, told by organisation and unit in its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Authority {
    /// AMD's key distribution service.
    Amd,
    /// A software model of the security processor; proves nothing about hardware.
    Model,
}

/// What a certificate is, by its exact subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// AMD root key of a generation.
    Ark(Generation),
    /// AMD SEV signing key: signs VCEKs.
    Ask(Generation),
    /// AMD SEV VLEK signing key: signs VLEKs.
    Asvk(Generation),
    /// Versioned chip endorsement key. The generation is the issuer's.
    Vcek,
    /// Versioned loaded endorsement key. The generation is the issuer's.
    Vlek,
}

impl Role {
    /// The generation that the name tells; a VEK's own name tells none.
    #[must_use]
    pub const fn generation(self) -> Option<Generation> {
        match self {
            Self::Ark(generation) | Self::Ask(generation) | Self::Asvk(generation) => {
                Some(generation)
            }
            Self::Vcek | Self::Vlek => None,
        }
    }

    /// The common name of such a certificate.
    #[must_use]
    pub fn common_name(self, authority: Authority) -> String {
        let prefix = match authority {
            Authority::Amd => "",
            Authority::Model => "MODEL-",
        };
        match self {
            Self::Ark(generation) => format!("{prefix}ARK-{}", generation.name()),
            Self::Ask(generation) => format!("{prefix}SEV-{}", generation.name()),
            Self::Asvk(generation) => format!("{prefix}SEV-VLEK-{}", generation.name()),
            Self::Vcek => format!("{prefix}SEV-VCEK"),
            Self::Vlek => format!("{prefix}SEV-VLEK"),
        }
    }
}

/// The DER of the one name a certificate of this authority and role may have.
#[must_use]
pub fn encode(authority: Authority, role: Role) -> Vec<u8> {
    // The order of the attributes, their string types and the two short tags are what AMD's
    // certificates have; a name with the same words in another order or type is another name. Types
    // (id-at): OU, C, L, ST, O, CN.
    let (unit, organisation) = match authority {
        Authority::Amd => ("Engineering", "Advanced Micro Devices"),
        Authority::Model => ("MODEL, proves nothing", "Casemate MODEL, not AMD"),
    };
    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;
    let common_name = role.common_name(authority);
    let mut body = Vec::with_capacity(160);
    for (attribute, tag, value) in [
        (0x0b, UTF8, unit),
        (0x06, PRINTABLE, "US"),
        (0x07, UTF8, "Santa Clara"),
        (0x08, UTF8, "CA"),
        (0x0a, UTF8, organisation),
        (0x03, UTF8, common_name.as_str()),
    ] {
        // All values are constants far below the 118 bytes that a short length allows.
        let length = u8::try_from(value.len()).unwrap_or(0);
        // SET { SEQUENCE { OBJECT IDENTIFIER 2.5.4.attribute, string } }: five bytes of identifier
        // and two of the string's own head lie in the SEQUENCE, two more of its head in the SET.
        body.extend([0x31, length.wrapping_add(9), 0x30, length.wrapping_add(7)]);
        body.extend([0x06, 0x03, 0x55, 0x04, attribute, tag, length]);
        body.extend(value.as_bytes());
    }
    let length = u8::try_from(body.len()).unwrap_or(0);
    let mut name = if length < 0x80 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    name.append(&mut body);
    name
}

/// Authority and role with exactly this name, if there is one.
#[must_use]
pub fn recognise(name: &[u8]) -> Option<(Authority, Role)> {
    // Written once and compared as bytes afterwards: to find out what a certificate is takes no
    // parser of names, and so none that could be more lenient than another.
    static KNOWN: OnceLock<Vec<(Vec<u8>, Authority, Role)>> = OnceLock::new();
    KNOWN
        .get_or_init(|| {
            let mut roles = vec![Role::Vcek, Role::Vlek];
            for generation in Generation::ALL {
                roles.extend([
                    Role::Ark(generation),
                    Role::Ask(generation),
                    Role::Asvk(generation),
                ]);
            }
            [Authority::Amd, Authority::Model]
                .into_iter()
                .flat_map(|authority| {
                    roles.iter().map(move |role| (encode(authority, *role), authority, *role))
                })
                .collect()
        })
        .iter()
        .find(|(known, _, _)| known == name)
        .map(|(_, authority, role)| (*authority, *role))
}
