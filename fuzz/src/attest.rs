//! Bodies for the parsers of `attestation`: everything that evidence, certificates and images bring
//! in.
//!
//! Oracles: no panic; memory within a small multiple of the input; a report or certificate that
//! differs in one byte from a genuine one is never accepted; what is parsed and written again is
//! the same.

use casemate_attestation::cert::{
    Certificate, Crl, Object, VekExtensions, certificates_in, objects_in,
};
use casemate_attestation::evidence::{CertTable, Evidence};
use casemate_attestation::idblock::{self, IdBlock};
use casemate_attestation::measure::{Ovmf, igvm_launch};
use casemate_attestation::model::{MessageType, open};
use casemate_attestation::record::{Inputs, Record};
use casemate_attestation::report::{Generation, Report};
use casemate_attestation::store::Store;
use casemate_attestation::verify::{Appraisal, Seen, VerifiedVek, Verifier};
use std::sync::OnceLock;

const REPORT: &[u8] = include_bytes!("../../tests/vectors/reports/ms_turin.bin");
const VCEK: &[u8] = include_bytes!("../../tests/vectors/reports/ms_turin.vcek.der");
const MILAN: &[u8] = include_bytes!("../../tests/vectors/reports/ms_milan.bin");
const MILAN_VCEK: &[u8] = include_bytes!("../../tests/vectors/reports/ms_milan.vcek.der");
const MILAN_CRL: &[u8] = include_bytes!("../../tests/vectors/crls/milan_crl_6.der");
/// 2026-06-01.
const AT: u64 = 1_780_272_000;
/// Bytes that any input may cost beside its multiple: checks, texts, tables made once.
const FLOOR: u64 = 512 * 1024;

fn bounded(data: &[u8], factor: u64, body: impl FnOnce()) {
    crate::bounded(FLOOR + factor * data.len() as u64, body);
}

fn verifier() -> &'static (Verifier, VerifiedVek) {
    static VERIFIER: OnceLock<(Verifier, VerifiedVek)> = OnceLock::new();
    VERIFIER.get_or_init(|| {
        let verifier = Verifier::new(AT);
        let chain = verifier.verify_chain(VCEK).unwrap();
        (verifier, chain)
    })
}

/// A report under a kept chain.
pub fn report(data: &[u8]) {
    let (verifier, chain) = verifier();
    bounded(data, 8, || {
        let verdict = verifier.verify_under(data, chain);
        assert!(!verdict.authentic() || data == REPORT, "an altered report was accepted");
        assert!(verdict.authentic() == matches!(verdict.report(), Seen::Verified(_)));
        if let Ok(report) = Report::parse(data) {
            assert_eq!(report.raw().as_slice(), data);
        }
    });
}

/// Evidence in any form: raw, extended, HCL, JSON.
pub fn extended(data: &[u8]) {
    bounded(data, 16, || {
        if let Ok(evidence) = Evidence::read(data) {
            assert!(evidence.report.len() <= data.len().max(1184));
            let _ = Report::parse(&evidence.report);
        }
    });
}

/// A certificate table.
pub fn cert_table(data: &[u8]) {
    bounded(data, 8, || {
        if let Ok(table) = CertTable::parse(data) {
            let total: usize = table.entries().map(|(_, bytes)| bytes.len()).sum();
            assert!(total <= data.len(), "entries name more bytes than there are");
        }
    });
}

/// A certificate, DER or PEM, and its VEK extensions; then as the VEK of a genuine report.
pub fn x509(data: &[u8]) {
    bounded(data, 16, || {
        if let Ok(certificate) = Certificate::from_der(data) {
            assert_eq!(certificate.der(), data);
            assert!(certificate.tbs().len() < data.len());
            let _ = VekExtensions::parse(&certificate.extensions);
            let verdict = verifier().0.verify(REPORT, Some(data));
            assert!(!verdict.authentic() || data == VCEK, "an altered certificate was accepted");
        }
        let _ = certificates_in(data);
    });
}

/// A revocation list; judged with a genuine chain of its generation at a time when the genuine list
/// is current.
pub fn crl(data: &[u8]) {
    bounded(data, 32, || {
        if let Ok(crl) = Crl::from_der(data) {
            assert_eq!(crl.der(), data);
            // 2026-03-01.
            let mut verifier = Verifier::new(1_772_323_200);
            verifier.appraisal.allow_broken_roots = vec![Generation::Milan];
            verifier.crls.push(crl);
            let verdict = verifier.verify(MILAN, Some(MILAN_VCEK));
            assert!(!verdict.authentic() || data == MILAN_CRL, "an altered list was accepted");
        }
    });
}

/// An Azure HCL blob.
pub fn hcl(data: &[u8]) {
    let blob = [b"HCLA", data].concat();
    extended(&blob);
    extended(data);
}

/// Evidence, records and policies in text.
pub fn json(data: &[u8]) {
    extended(data);
    bounded(data, 64, || {
        if let Ok(record) = Record::from_json(data) {
            let _ = record.repeat();
            let _ = record.evidence(Inputs::default()).map(|inputs| inputs.verify());
        }
        if let Ok(text) = std::str::from_utf8(data) {
            let _ = Appraisal::from_toml(text);
            let _ = casemate_attestation::time::parse(text);
            let _ = casemate_attestation::hex::from_people(text);
        }
    });
}

/// Attestations of go-sev-guest, binary and text, whole or the report by itself.
pub fn gosev(data: &[u8]) {
    extended(data);
    extended(&[b"\x08\x03", data].concat());
    extended(&[b"report {", data, b"}"].concat());
}

/// Certificates and lists in any form that is read.
pub fn bundle(data: &[u8]) {
    bounded(data, 32, || {
        let objects = objects_in(data).unwrap_or_default();
        assert!(objects.len() <= 64);
        for object in objects {
            if let Object::Certificate(certificate) = object {
                let _ = certificate.distribution_point();
            }
        }
    });
}

/// A folder that somebody else could write to, as a store: up to four files, each with a byte in
/// front that says under which name. Nothing counts there but the genuine certificate and list.
pub fn store(data: &[u8]) {
    const NAMES: [&str; 8] = [
        "loose.der",
        "loose.pem",
        "vlek/loose.der",
        "turin/ca/ask-030001-0.der",
        "turin/vcek/59790fb1c39f35c1-0101010400000051/0.der",
        "turin/vcek/59790fb1c39f35c1-0101010400000051.der",
        "milan/crl/vcek/999999999999-0.der",
        "milan/crl/vlek/999999999999-0.der",
    ];
    // A folder of this thread: targets are replayed by several.
    let thread = format!("{:?}", std::thread::current().id());
    let name = format!("casemate-fuzz-store-{}-{thread}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    let _ = std::fs::remove_dir_all(&folder);
    for file in data.chunks(data.len().div_ceil(4).max(1)) {
        let (first, contents) = file.split_first().unwrap();
        let path = folder.join(NAMES[usize::from(*first) % NAMES.len()]);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        // Where a folder has that name a file cannot be.
        let _ = std::fs::write(path, contents);
    }
    let store = Store::new(&folder);
    let report = Report::parse(REPORT).unwrap();
    for found in store.candidates(report.unverified_fields()).unwrap() {
        assert_eq!(found.der(), VCEK, "another certificate counts");
    }
    for (_, _, crl) in store.crls().unwrap() {
        assert_eq!(crl.der(), MILAN_CRL, "another list counts");
    }
    for certificate in store.intermediates().unwrap() {
        assert!(Verifier::new(AT).authentic(&certificate).is_ok());
    }
    let _ = store.import_path(&folder, None);
    let kept = store.list().unwrap().len();
    assert!(kept <= 16, "{kept} files of four");
    std::fs::remove_dir_all(&folder).unwrap_or_default();
}

/// An ID block with its authentication.
pub fn id_block(data: &[u8]) {
    bounded(data, 8, || {
        let (block, auth) = data.split_at_checked(96).unwrap_or((data, &[]));
        if let Ok(parsed) = IdBlock::parse(block) {
            assert_eq!(parsed.to_bytes().as_slice(), block);
        }
        for author in [false, true] {
            let _ = idblock::check(block, auth, author);
        }
    });
}

/// An IGVM file; the checksum is made to fit so that what lies behind it is reached.
pub fn igvm(data: &[u8]) {
    bounded(data, 8, || {
        let _ = igvm_launch(data);
        let fixed = with_checksum(data);
        let _ = igvm_launch(&fixed);
    });
}

fn with_checksum(data: &[u8]) -> Vec<u8> {
    let mut file = data.to_vec();
    let word = |at: usize| {
        data.get(at..at + 4).map_or(0, |b| u32::from_le_bytes(b.try_into().unwrap()) as usize)
    };
    let fixed = if word(4) == 2 { 32 } else { 24 };
    let (start, length) = (word(8), word(12));
    if file.len() < fixed {
        return file;
    }
    file[16..20].copy_from_slice(&(data.len() as u32).to_le_bytes());
    file[20..24].fill(0);
    let headers = start.checked_add(length).and_then(|end| file.get(start..end)).unwrap_or(&[]);
    let crc = !file[..fixed].iter().chain(headers).fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1))
        })
    });
    file[20..24].copy_from_slice(&crc.to_le_bytes());
    file
}

/// The tables of an OVMF image, at the end of a page.
pub fn ovmf(data: &[u8]) {
    bounded(data, 8, || {
        let mut image = vec![0; data.len().next_multiple_of(4096) - data.len()];
        image.extend(data);
        if let Ok(ovmf) = Ovmf::parse(&image) {
            assert!(ovmf.sections.len() <= 64);
        }
    });
}

/// A guest message page under a fixed key.
pub fn guest_message(data: &[u8]) {
    let mut page = [0; 4096];
    let length = data.len().min(4096);
    page[..length].copy_from_slice(&data[..length]);
    bounded(data, 8, || {
        if let Ok((header, payload)) = open(&page, &[7; 32]) {
            assert_eq!(payload.len(), usize::from(header.size));
            assert!(matches!(header.kind, MessageType::ReportRequest | MessageType::KeyRequest));
        }
    });
}
