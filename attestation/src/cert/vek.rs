//! The extensions of a VCEK or VLEK certificate: TCB, chip and cloud provider.
//!
//! Principle: the set of extensions is exact for the certificate's structVersion; no prefix of an
//! OID, no duplicate, no lenient integer. Source: AMD 57230 (VCEK) and 58369 (VLEK) certificate
//! definitions. Limit: structVersion 0 (Milan, Genoa) and 1 (Turin).

use super::{CertError, Extension};
use crate::report::KeyKind;
use der::asn1::ObjectIdentifier;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

/// Identifier of structVersion, which says which of the others there are.
const STRUCT_VERSION: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.1");
/// Identifier of productName, the model and stepping of the processor.
const PRODUCT: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.2");
/// Identifier of hwID, the chip's; of a VCEK only.
const HWID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.4");
/// Identifier of cspID, the cloud provider's; of a VLEK only.
const CSP_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.5");
const BOOT_LOADER: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.1");
const TEE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.2");
const SNP: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.3");
const SPL_4: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.4");
const SPL_5: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.5");
const SPL_6: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.6");
const SPL_7: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.7");
const MICROCODE: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.8");
const FMC: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.3.9");

/// SPL extensions in the byte order of the TCB_VERSION of structVersion 0.
const TCB_V0: [ObjectIdentifier; 8] =
    [BOOT_LOADER, TEE, SPL_4, SPL_5, SPL_6, SPL_7, SNP, MICROCODE];
/// SPL extensions in the byte order of the TCB_VERSION of structVersion 1.
const TCB_V1: [ObjectIdentifier; 8] = [FMC, BOOT_LOADER, TEE, SNP, SPL_5, SPL_6, SPL_7, MICROCODE];

/// Which of the two endorsement keys a certificate is for, and what binds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VekKind {
    /// Versioned chip endorsement key: bound to one chip.
    Vcek {
        /// The chip's identifier: 64 bytes, on Turin 8.
        hwid: Vec<u8>,
    },
    /// Versioned loaded endorsement key: bound to a cloud provider.
    Vlek {
        /// The provider's identifier, such as `CN=cc-us-east-2.amazonaws.com`.
        csp_id: String,
    },
}

impl VekKind {
    /// Which of the two, without what it is bound to.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Vcek { .. } => KeyKind::Vcek,
            Self::Vlek { .. } => KeyKind::Vlek,
        }
    }

    /// `VCEK` or `VLEK`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }
}

/// The interpreted extensions of a VEK certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VekExtensions {
    /// Layout of the extensions: 0 (Milan, Genoa) or 1 (Turin).
    pub struct_version: u8,
    /// Product name, such as `Milan-B0`.
    pub product: String,
    /// The TCB the key is derived for, in the byte order of a report's TCB fields.
    pub tcb: [u8; 8],
    /// Kind, with the identity it is bound to.
    pub kind: VekKind,
}

impl VekExtensions {
    /// Interprets the extensions of a VEK certificate, all of them.
    ///
    /// # Errors
    /// [`CertError::Extension`] naming the object identifier and the rule.
    pub fn parse(extensions: &[Extension]) -> Result<Self, CertError> {
        // The version decides which extensions there are and in which order their numbers stand in
        // a TCB, so it is read first.
        let struct_version = spl(extensions, STRUCT_VERSION)?;
        let (layout, hwid_length) = match struct_version {
            0 => (TCB_V0, 64),
            1 => (TCB_V1, 8),
            _ => return Err(broken(STRUCT_VERSION, "structVersion is neither 0 nor 1")),
        };
        // Unknown ones are refused, not skipped: an SPL that this program does not know would be a
        // part of the TCB that no floor is held against. Critical ones are refused because AMD
        // marks none so.
        for extension in extensions {
            let known = [STRUCT_VERSION, PRODUCT, HWID, CSP_ID].contains(&extension.oid)
                || layout.contains(&extension.oid);
            if !known {
                return Err(broken(extension.oid, "not an extension of this structVersion"));
            }
            if extension.critical {
                return Err(broken(extension.oid, "is marked critical"));
            }
        }
        // Each of the eight must be there. An absent one taken as 0 would be a TCB that the key was
        // not derived for.
        let mut tcb = [0; 8];
        for (byte, oid) in tcb.iter_mut().zip(layout) {
            *byte = spl(extensions, oid)?;
        }
        // Exactly one of the two identities: it decides what a report is held against, its CHIP_ID
        // or the demanded provider.
        let kind = match (find(extensions, HWID)?, find(extensions, CSP_ID)?) {
            (Some(value), None) => VekKind::Vcek { hwid: hardware_id(value, hwid_length)? },
            (None, Some(value)) => VekKind::Vlek { csp_id: ia5(value, CSP_ID)? },
            (Some(_), Some(_)) => {
                return Err(broken(CSP_ID, "stands beside a hardware identifier"));
            }
            (None, None) => return Err(broken(HWID, "missing, and no provider identifier either")),
        };
        let product =
            ia5(find(extensions, PRODUCT)?.ok_or_else(|| broken(PRODUCT, "missing"))?, PRODUCT)?;
        Ok(Self { struct_version, product, tcb, kind })
    }
}

fn broken(oid: ObjectIdentifier, rule: &'static str) -> CertError {
    CertError::Extension { oid: oid.to_string(), rule }
}

fn find(extensions: &[Extension], oid: ObjectIdentifier) -> Result<Option<&[u8]>, CertError> {
    let mut found = extensions.iter().filter(|extension| extension.oid == oid);
    let first = found.next();
    if found.next().is_some() {
        return Err(broken(oid, "appears twice"));
    }
    Ok(first.map(|extension| extension.value.as_slice()))
}

/// A DER INTEGER from 0 to 255 in its only canonical form.
fn spl(extensions: &[Extension], oid: ObjectIdentifier) -> Result<u8, CertError> {
    // A DER INTEGER is signed and as short as it can be (X.690, 8.3.2): from 128 on it takes a zero
    // before it, below it must not have one.
    match find(extensions, oid)?.ok_or_else(|| broken(oid, "missing"))? {
        [2, 1, value] if *value < 0x80 => Ok(*value),
        [2, 2, 0, value] if *value >= 0x80 => Ok(*value),
        _ => Err(broken(oid, "not a canonical INTEGER from 0 to 255")),
    }
}

/// The hardware identifier: raw, or as some certificates have it in an OCTET STRING; told by
/// length.
fn hardware_id(value: &[u8], length: usize) -> Result<Vec<u8>, CertError> {
    match value {
        raw if raw.len() == length => Ok(raw.to_vec()),
        [0x04, stated, raw @ ..] if usize::from(*stated) == length && raw.len() == length => {
            Ok(raw.to_vec())
        }
        _ => Err(broken(HWID, "length does not fit the structVersion")),
    }
}

/// A short IA5String of printable ASCII.
fn ia5(value: &[u8], oid: ObjectIdentifier) -> Result<String, CertError> {
    match value {
        [0x16, stated, text @ ..]
            if usize::from(*stated) == text.len()
                && *stated < 0x80
                && text.iter().all(|byte| (0x20..0x7f).contains(byte)) =>
        {
            Ok(text.iter().copied().map(char::from).collect())
        }
        _ => Err(broken(oid, "not a short IA5String")),
    }
}
