//! The anchors of trust: AMD's root keys, built in and pinned by digest.
//!
//! An ARK is trusted because the SHA-256 of its SubjectPublicKeyInfo is a constant of this file,
//! never because evidence brought it. A MODEL root is trusted only when a caller adds it, and every
//! verdict under it says MODEL.

use super::{Authority, CertError, Certificate, Role};
use crate::report::Generation;
use casemate_policy::hex_digit;
use std::sync::OnceLock;

macro_rules! chain {
    ($folder:literal) => {
        [
            include_bytes!(concat!("../roots/", $folder, "/ark.der")).as_slice(),
            include_bytes!(concat!("../roots/", $folder, "/ask.der")).as_slice(),
            include_bytes!(concat!("../roots/", $folder, "/asvk.der")).as_slice(),
        ]
    };
}

/// Certificates of AMD that come with this program, as its key server gives them: of each
/// generation ARK, ASK and ASVK. They save a fetch, and are not trusted for being here.
const AMD_CHAINS: [[&[u8]; 3]; 3] = [chain!("milan"), chain!("genoa"), chain!("turin")];

/// SHA-256 of the SubjectPublicKeyInfo of each ARK.
const AMD_PINS: [(Generation, [u8; 32]); 3] = [
    (Generation::Milan, pin(b"9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9")),
    (Generation::Genoa, pin(b"429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831")),
    (Generation::Turin, pin(b"4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08")),
];

/// A root key that is trusted, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// Whose root it is: AMD's, or a model's.
    pub authority: Authority,
    /// The generation of processors that it signs for.
    pub generation: Generation,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_digest: [u8; 32],
}

/// Trusted root keys, with the certificates at hand to build chains from.
#[derive(Debug, Clone)]
pub struct Roots {
    anchors: Vec<Anchor>,
    certificates: Vec<Certificate>,
}

impl Roots {
    /// Every root key that is trusted, AMD's and added ones.
    pub fn anchors(&self) -> impl Iterator<Item = &Anchor> {
        self.anchors.iter()
    }

    /// Certificates with this subject, in the order in which they were added.
    pub fn candidates(
        &self,
        authority: Authority,
        role: Role,
    ) -> impl Iterator<Item = &Certificate> {
        self.certificates.iter().filter(move |c| c.role() == Some((authority, role)))
    }

    /// Adds an ASK or ASVK to build chains with. It is trusted only if a pinned ARK signed it.
    pub fn add_intermediate(&mut self, certificate: Certificate) {
        if !self.certificates.contains(&certificate) {
            self.certificates.push(certificate);
        }
    }

    /// Trusts the MODEL roots in `bundle` (ARK, ASK and ASVK certificates). Verdicts under them say
    /// MODEL.
    ///
    /// # Errors
    /// When the bundle has no MODEL root, or any certificate in it that is not a MODEL one.
    pub fn accept_model(&mut self, bundle: Vec<Certificate>) -> Result<(), CertError> {
        let mut roots = Vec::new();
        for certificate in &bundle {
            match certificate.role() {
                Some((Authority::Model, Role::Ark(generation))) => {
                    // Only the key is trusted, and for one generation: the certificate that carries
                    // it is verified like any other when a chain is built.
                    roots.push(Anchor {
                        authority: Authority::Model,
                        generation,
                        key_digest: certificate.key_digest,
                    });
                }
                Some((Authority::Model, _)) => {}
                _ => return Err(CertError::Pem("a certificate that is not a MODEL certificate")),
            }
        }
        if roots.is_empty() {
            return Err(CertError::Pem("no MODEL root certificate"));
        }
        // All or nothing: a bundle that is refused has made nothing trusted.
        self.anchors.extend(roots);
        self.certificates.extend(bundle);
        Ok(())
    }
}

/// AMD's roots of all generations, with their ASK and ASVK certificates.
#[must_use]
pub fn builtin() -> Roots {
    static BUILTIN: OnceLock<Roots> = OnceLock::new();
    BUILTIN
        .get_or_init(|| Roots {
            anchors: AMD_PINS
                .iter()
                .map(|(generation, key_digest)| Anchor {
                    authority: Authority::Amd,
                    generation: *generation,
                    key_digest: *key_digest,
                })
                .collect(),
            // A certificate that did not parse would be missing; a unit test counts them.
            certificates: AMD_CHAINS
                .iter()
                .flatten()
                .filter_map(|der| Certificate::from_der(der).ok())
                .collect(),
        })
        .clone()
}

/// A digest from 64 hexadecimal digits, at compile time.
const fn pin(hex: &[u8; 64]) -> [u8; 32] {
    let (pairs, _) = hex.as_chunks::<2>();
    let mut out = [0; 32];
    let mut rest: &mut [u8] = &mut out;
    let mut pairs: &[[u8; 2]] = pairs;
    while let (Some((to, rest_out)), Some(([high, low], rest_in))) =
        (rest.split_first_mut(), pairs.split_first())
    {
        // A digit that is none would give a pin that no key has; a test compares all of them.
        *to = match (hex_digit(*high), hex_digit(*low)) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => 0,
        };
        rest = rest_out;
        pairs = rest_in;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Authority, Role, builtin};
    use crate::report::Generation;

    #[test]
    fn every_built_in_chain_parses_and_matches_its_pin() {
        let roots = builtin();
        for generation in [Generation::Milan, Generation::Genoa, Generation::Turin] {
            let pin = roots.anchors().find(|anchor| anchor.generation == generation).unwrap();
            let ark = roots.candidates(Authority::Amd, Role::Ark(generation)).next().unwrap();
            assert_eq!(ark.key_digest, pin.key_digest);
            assert_eq!(roots.candidates(Authority::Amd, Role::Ask(generation)).count(), 1);
            assert_eq!(roots.candidates(Authority::Amd, Role::Asvk(generation)).count(), 1);
        }
    }
}
