//! A store as it was at one moment, in memory: for a process that opens no files.

use super::{MAX_STORE, Store, StoreError, fits, objects_of};
use crate::cert::{CertError, Certificate, Crl, KeyKind, Object, Role};
use crate::report::{Fields, Generation};

/// Where certificates and lists are found.
pub trait Source {
    /// The certificates that fit a report, see [`Store::candidates`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn candidates(&self, report: &Fields) -> Result<Vec<Certificate>, StoreError>;

    /// All ASK and ASVK certificates, see [`Store::intermediates`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn intermediates(&self) -> Result<Vec<Certificate>, StoreError>;

    /// The newest list of a generation, see [`Store::crl`].
    ///
    /// # Errors
    /// [`StoreError`].
    fn crl(&self, generation: Generation, kind: KeyKind) -> Result<Option<Crl>, StoreError>;
}

impl Source for Store {
    fn candidates(&self, report: &Fields) -> Result<Vec<Certificate>, StoreError> {
        Self::candidates(self, report)
    }

    fn intermediates(&self) -> Result<Vec<Certificate>, StoreError> {
        Self::intermediates(self)
    }

    fn crl(&self, generation: Generation, kind: KeyKind) -> Result<Option<Crl>, StoreError> {
        Self::crl(self, generation, kind)
    }
}

/// What was genuine in a store when it was read.
///
/// As DER it can be given to another process, which takes that one's word for it: whoever judges a
/// report by what is found here verifies the whole chain again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// VCEK and VLEK certificates.
    pub veks: Vec<Certificate>,
    /// ASK and ASVK certificates.
    pub intermediates: Vec<Certificate>,
    /// The newest list of each generation and kind of chain.
    pub lists: Vec<(Generation, KeyKind, Crl)>,
}

impl Store {
    /// All that is genuine in the store now.
    ///
    /// # Errors
    /// [`StoreError`] when a folder cannot be read or has more files than are looked at.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let verifier = self.verifier()?;
        let mut veks: Vec<Certificate> = Vec::new();
        let kept = self.list()?;
        let kept = kept.iter().take(MAX_STORE).flat_map(|file| objects_of(file));
        let loose = self.loose()?.into_iter().map(|(_, object)| object);
        for object in kept.chain(loose) {
            let Object::Certificate(certificate) = object else { continue };
            if matches!(certificate.role(), Some((_, Role::Vcek | Role::Vlek)))
                && verifier.authentic(&certificate).is_ok()
            {
                veks.push(certificate);
            }
        }
        veks.sort_by(|one, other| one.der().cmp(other.der()));
        veks.dedup();
        Ok(Snapshot { veks, intermediates: self.intermediates()?, lists: self.crls()? })
    }
}

impl Snapshot {
    /// The same out of its DER.
    ///
    /// # Errors
    /// [`CertError`] for what is no certificate or list.
    pub fn of_der(
        veks: &[Vec<u8>],
        intermediates: &[Vec<u8>],
        lists: &[(Generation, KeyKind, Vec<u8>)],
    ) -> Result<Self, CertError> {
        fn certificates(all: &[Vec<u8>]) -> Result<Vec<Certificate>, CertError> {
            all.iter().map(|der| Certificate::from_der(der)).collect()
        }
        let list = |(generation, kind, der): &(_, _, Vec<u8>)| {
            Crl::from_der(der).map(|crl| (*generation, *kind, crl))
        };
        Ok(Self {
            veks: certificates(veks)?,
            intermediates: certificates(intermediates)?,
            lists: lists.iter().map(list).collect::<Result<_, _>>()?,
        })
    }
}

impl Source for Snapshot {
    fn candidates(&self, report: &Fields) -> Result<Vec<Certificate>, StoreError> {
        let Some(kind) = report.signing_key().kind() else { return Ok(Vec::new()) };
        let fitting = self.veks.iter().filter(|certificate| fits(certificate, kind, report));
        Ok(fitting.cloned().collect())
    }

    fn intermediates(&self) -> Result<Vec<Certificate>, StoreError> {
        Ok(self.intermediates.clone())
    }

    fn crl(&self, generation: Generation, kind: KeyKind) -> Result<Option<Crl>, StoreError> {
        let mut lists = self.lists.iter();
        let found = lists.find(|(of, its, _)| (*of, *its) == (generation, kind));
        Ok(found.map(|(_, _, crl)| crl.clone()))
    }
}
