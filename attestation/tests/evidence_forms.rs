//! What these tests protect: each form in which people hold a report leads to its bytes and to the
//! certificates that came with it, damage is an error that says where, and forms that are not read
//! are named. What they cannot tell: whether the programs named still write them so.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

mod common;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use casemate_attestation::evidence::{Evidence, EvidenceError, VCEK_GUID, encode_table};
use casemate_attestation::hex::encode;
use serde_json::json;

/// A field of go-sev-guest's report: number, name, offset, length, whether it is a number.
type Field = (u32, &'static str, usize, usize, bool);

/// `proto/sevsnp.proto`, but for the processor, which is packed otherwise.
const FIELDS: [Field; 30] = [
    (1, "version", 0x00, 4, true),
    (2, "guest_svn", 0x04, 4, true),
    (3, "policy", 0x08, 8, true),
    (4, "family_id", 0x10, 16, false),
    (5, "image_id", 0x20, 16, false),
    (6, "vmpl", 0x30, 4, true),
    (7, "signature_algo", 0x34, 4, true),
    (8, "current_tcb", 0x38, 8, true),
    (9, "platform_info", 0x40, 8, true),
    (10, "signer_info", 0x48, 4, true),
    (11, "report_data", 0x50, 64, false),
    (12, "measurement", 0x90, 48, false),
    (13, "host_data", 0xC0, 32, false),
    (14, "id_key_digest", 0xE0, 48, false),
    (15, "author_key_digest", 0x110, 48, false),
    (16, "report_id", 0x140, 32, false),
    (17, "report_id_ma", 0x160, 32, false),
    (18, "reported_tcb", 0x180, 8, true),
    (19, "chip_id", 0x1A0, 64, false),
    (20, "committed_tcb", 0x1E0, 8, true),
    (21, "current_build", 0x1E8, 1, true),
    (22, "current_minor", 0x1E9, 1, true),
    (23, "current_major", 0x1EA, 1, true),
    (24, "committed_build", 0x1EC, 1, true),
    (25, "committed_minor", 0x1ED, 1, true),
    (26, "committed_major", 0x1EE, 1, true),
    (27, "launch_tcb", 0x1F0, 8, true),
    (28, "signature", 0x2A0, 512, false),
    (30, "launch_mit_vector", 0x1F8, 8, true),
    (31, "current_mit_vector", 0x200, 8, true),
];

/// CPUID leaf 1 EAX, as the message has it; 0 before version 3.
fn fms(report: &[u8]) -> u32 {
    let [family, model, stepping] = report[0x188..0x18b].try_into().unwrap();
    if family == 0 {
        return 0;
    }
    let model = u32::from(model);
    u32::from(family - 15) << 20
        | model >> 4 << 16
        | 0xf00
        | (model & 15) << 4
        | u32::from(stepping)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn numbered(field: u32, value: u64) -> Vec<u8> {
    if value == 0 { vec![] } else { [varint(u64::from(field) << 3), varint(value)].concat() }
}

fn blob(field: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap();
    [varint(u64::from(field) << 3 | 2), varint(length), bytes.to_vec()].concat()
}

fn value(report: &[u8], (_, _, at, length, _): Field) -> u64 {
    report[at..at + length].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

fn wire_report(report: &[u8]) -> Vec<u8> {
    let field = |field: &Field| match field {
        (number, _, _, _, true) => numbered(*number, value(report, *field)),
        (number, _, at, length, false) => blob(*number, &report[*at..at + length]),
    };
    let fields: Vec<u8> = FIELDS.iter().flat_map(field).collect();
    [fields, numbered(29, fms(report).into())].concat()
}

fn wire(report: &[u8], vek: &[u8], field: u32) -> Vec<u8> {
    let extras = blob(7, &[blob(1, b"guid"), blob(2, b"bytes")].concat());
    let chain = [blob(field, vek), blob(2, b"ask"), blob(3, b"ark"), extras].concat();
    let product = [numbered(1, 2), blob(3, &numbered(1, 1))].concat();
    [blob(1, &wire_report(report)), blob(2, &chain), blob(3, &product)].concat()
}

/// Escaped as Go's `prototext` does: octal here, hexadecimal there, what is printable as it is.
fn quoted(bytes: &[u8]) -> String {
    let escape = |(index, byte): (usize, &u8)| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(*byte)),
        b'\n' => "\\n".to_owned(),
        b' '..=b'~' if index % 5 != 0 => char::from(*byte).to_string(),
        _ if index % 2 == 0 => format!("\\{byte:03o}"),
        _ => format!("\\x{byte:02x}"),
    };
    format!("\"{}\"", bytes.iter().enumerate().map(escape).collect::<String>())
}

fn text(report: &[u8], vek: &[u8], name: &str) -> String {
    let fields: Vec<_> = FIELDS
        .iter()
        .map(|field| match field {
            (_, name, _, _, true) => format!("  {name}: {}\n", value(report, *field)),
            (_, name, at, length, false) => {
                // In two strings, which are one.
                let (one, two) = report[*at..at + length].split_at(length / 2);
                format!("  {name}: {}\n    {}\n", quoted(one), quoted(two))
            }
        })
        .collect();
    let fms = fms(report);
    format!(
        "# an attestation\nreport: {{\n{}  cpuid1eax_fms: {fms:#x}\n}}\n\
         certificate_chain <\n  {name}: {}; ask_cert: 'x',\n  extras \
         {{ key: \"k\" value: \"v\" }}\n>\n\
         product {{ name: SEV_PRODUCT_GENOA machine_stepping: {{ value: 1 }} }}\n",
        fields.concat(),
        quoted(vek)
    )
}

fn lines(text: &str) -> String {
    text.as_bytes().chunks(60).map(|l| String::from_utf8_lossy(l) + "\n").collect()
}

#[test]
fn every_pair_is_read_in_each_form_that_people_hold() {
    let mut seen = 0;
    for pair in common::pairs() {
        let (name, report, vek) = (pair.name, &pair.report[..], &pair.vek[..]);
        let vlek = name == "trustee_vlek";
        let (field, field_name) = if vlek { (6, "vlek_cert") } else { (1, "vcek_cert") };
        let guid = if vlek { casemate_attestation::evidence::VLEK_GUID } else { VCEK_GUID };
        let extended = [report, &encode_table(&[(guid, vek)]).unwrap()].concat();
        let tsm = json!({"outblob": Base64::encode_string(report),
            "auxblob": Base64::encode_string(&extended[1184..])});
        let base64url = Base64UrlUnpadded::encode_string(tsm.to_string().as_bytes());
        let request =
            json!({"tee": "snp", "evidence": base64url, "runtime_data": {"raw": "bm9uY2U"}});
        let requests =
            json!({"verification_requests": [request.clone()], "policy_ids": ["default"]});
        let kbs = json!({"tee-pubkey": {}, "tee-evidence": tsm.to_string()});
        let raw_request = json!({"tee": "snp", "evidence": Base64::encode_string(&extended)});
        for (form, bytes, carried) in [
            ("hexadecimal", encode(report).into_bytes(), false),
            ("0x, lines", format!("0x{}", lines(&encode(report))).into_bytes(), false),
            ("upper case", encode(&extended).to_uppercase().into_bytes(), true),
            ("bytes apart", apart(report, " "), false),
            ("colons", apart(report, ":"), false),
            ("a list in C", apart(report, ", 0x"), false),
            ("byte order mark", [b"\xef\xbb\xbf", encode(report).as_bytes()].concat(), false),
            ("numbers", json!(report).to_string().into_bytes(), false),
            ("a string", json!(Base64::encode_string(report)).to_string().into_bytes(), false),
            ("armour", armour(&extended), true),
            ("an answer of the firmware", answer(report), false),
            ("base64", Base64::encode_string(report).into_bytes(), false),
            ("base64, lines", lines(&Base64::encode_string(&extended)).into_bytes(), true),
            ("base64url", Base64UrlUnpadded::encode_string(&extended).into_bytes(), true),
            ("base64 of JSON", base64url.into_bytes(), true),
            ("go-sev-guest report", wire_report(report), false),
            ("go-sev-guest", wire(report, vek, field), true),
            (
                "go-sev-guest in base64",
                Base64::encode_string(&wire(report, vek, field)).into(),
                true,
            ),
            ("go-sev-guest, text", text(report, vek, field_name).into_bytes(), true),
            ("request", request.to_string().into_bytes(), true),
            ("requests", requests.to_string().into_bytes(), true),
            ("request with a report", raw_request.to_string().into_bytes(), true),
            ("KBS, JSON in text", kbs.to_string().into_bytes(), true),
        ] {
            let evidence = Evidence::read(&bytes).unwrap_or_else(|e| panic!("{name}, {form}: {e}"));
            assert!(evidence.report == report, "{name}, {form}");
            assert_eq!(evidence.vek(), carried.then_some(vek), "{name}, {form}");
            seen += 1;
        }
    }
    assert!(seen >= 13 * 23, "{seen}");
}

fn apart(bytes: &[u8], between: &str) -> Vec<u8> {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let first = if between.ends_with("0x") { "0x" } else { "" };
    format!("{first}{}\n", pairs.join(between)).into_bytes()
}

fn armour(bytes: &[u8]) -> Vec<u8> {
    let body = lines(&Base64::encode_string(bytes));
    format!("-----BEGIN SNP REPORT-----\n{body}\n-----END SNP REPORT-----\n").into_bytes()
}

/// MSG_REPORT_RSP in the page that a driver gives.
fn answer(report: &[u8]) -> Vec<u8> {
    let mut page = [&[0, 0, 0, 0, 0xa0, 4, 0, 0], &[0; 24][..], report].concat();
    page.resize(4000, 0);
    page
}

fn fault(bytes: &[u8]) -> String {
    Evidence::read(bytes).unwrap_err().to_string()
}

#[test]
fn a_damaged_message_is_an_error_that_names_the_field() {
    let pair = common::find("ms_genoa");
    let good = text(&pair.report, &pair.vek, "vcek_cert");
    assert_eq!(Evidence::read(good.as_bytes()).unwrap().report, pair.report);
    for (from, to, wanted) in [
        ("report_data:", "report_date:", "not known at \"report_date"),
        ("vmpl: 0", "vmpl: 4294967296", "`vmpl` is more than 4 bytes"),
        ("vmpl: 0", "vmpl: -1", "value was expected"),
        ("vmpl: 0", "vmpl: \"0\"", "`vmpl` is of another type"),
        ("vmpl: 0", "vmpl: 0 vmpl: 0", "field 6 appears twice"),
        ("family_id: \"", "family_id: \"\\x00", "`family_id` has 17 bytes"),
        ("chip_id: \"", "chip_id: \"\\q", "escape"),
        ("product {", "product { a { b { c { d { e { f { g { h {", "too many messages"),
        ("certificate_chain <", "certificate_chain {", "does not end"),
        ("cpuid1eax_fms: 0x", "cpuid1eax_fms: 0xf", "a family above 255"),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        let fault = fault(bad.as_bytes());
        assert!(fault.contains(wanted), "{to}: {fault}");
    }
    let wire = wire(&pair.report, &pair.vek, 1);
    for end in [1, 2, 100, 1000, wire.len() - 1] {
        Evidence::read(&wire[..end]).unwrap_err();
    }
    let unknown = blob(1, &[wire_report(&pair.report), numbered(32, 1)].concat());
    assert!(fault(&unknown).contains("field 32"), "{}", fault(&unknown));
    assert!(fault(&blob(1, &wire_report(&pair.report)[..2])).contains("`family_id` is missing"));
    assert!(Evidence::read(&[8, 3].repeat(2000)).is_err(), "more fields than any message has");
    assert!(fault("vmpl: 0\n".repeat(2000).as_bytes()).contains("1024 fields"));
}

#[test]
fn forms_that_are_not_read_are_named() {
    let report = common::find("ms_turin").report;
    let dump: String = report
        .chunks(16)
        .enumerate()
        .map(|(line, bytes)| format!("{:08x}: {}\n", line * 16, encode(bytes)))
        .collect();
    assert!(fault(dump.as_bytes()).contains("xxd -r"));
    let certificate = b"-----BEGIN CERTIFICATE-----\nMIIF\n-----END CERTIFICATE-----\n";
    assert!(fault(certificate).contains("--cert"));
    assert!(fault(br#"{"tee": "tdx", "evidence": "AAAA"}"#).contains("another kind"));
    let repeated = format!(" {}\n*\n {}\n", "00 ".repeat(16), "01 ".repeat(16));
    let token = format!("eyJ{}.e30.AAAA", "A".repeat(2000));
    let page = "<!DOCTYPE html><title>404 Not Found</title>";
    for (bytes, wanted) in [
        (&b""[..], "an empty file"),
        (b"\x1f\x8b\x08\0\0", "gzip -d"),
        (b"\xfd7zXZ\0\0", "xz -d"),
        (b"\x28\xb5\x2f\xfd\0", "zstd -d"),
        (b"\xff\xfe0\x001\x00", "iconv"),
        (b"\x04\0\x02\0\x81\0\0\0\0\0", "Intel TDX"),
        (repeated.as_bytes(), "repeated lines are left out"),
        (token.as_bytes(), "a JSON web token"),
        (page.as_bytes(), "a page of a web server"),
        (b"{ 0x02, 0x00, 0x00 };", "take its braces off"),
        (br#"{"attestation_report": "AgAAAA=="}"#, "a file of its own"),
        (json!(vec![256; 1184]).to_string().as_bytes(), "something else than bytes"),
    ] {
        assert!(fault(bytes).contains(wanted), "{wanted}: {}", fault(bytes));
    }
    let two = br#"{"verification_requests": [{"evidence": ""}, {"evidence": ""}]}"#;
    assert!(fault(two).contains("several parts"));
    let deep = r#"{"evidence":"#.repeat(20) + "{}" + &"}".repeat(20);
    assert!(fault(deep.as_bytes()).contains("wrappers"));
    // Encodings of encodings end.
    let mut text = report;
    for _ in 0..6 {
        text = Base64::encode_string(&text).into_bytes();
    }
    assert!(matches!(Evidence::read(&text), Err(EvidenceError::UnknownForm(_))));
}
