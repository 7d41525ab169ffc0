//! Certificates: the store, a table, files in place of others.

use super::{expect, path, scratch, vector};
use std::path::Path;

#[test]
fn certificates_are_kept_and_used_offline() {
    let folder = scratch("certs");
    let store = path(&folder);
    let (reports, crls) = (vector("reports"), vector("crls"));
    expect(
        0,
        &["attest", "certs", "--dir", store, "--import", path(&reports), "--import", path(&crls)],
    );
    let report = vector("reports/ms_milan.bin");
    let verify = ["attest", "verify", path(&report), "--certs-dir", store, "--at", "2026-03-01"];
    let (out, _) = expect(3, &[&verify[..], &["--allow-broken-root", "milan"]].concat());
    assert!(out.contains("CRL_REVOKED              passed"));
    let (out, _) = expect(0, &["attest", "certs", "--dir", store, "--for", path(&report)]);
    assert!(out.contains("endorsement certificate: in the store"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_certificate_table_makes_a_report_verifiable_without_more() {
    let (report, cert) = (vector("reports/ms_genoa.bin"), vector("reports/ms_genoa.vcek.der"));
    let (table, extended) = (scratch("table"), scratch("extended"));
    let (out, _) = expect(0, &["attest", "table", path(&cert), "--out", path(&table)]);
    assert!(out.starts_with("SEV-VCEK: "));
    let both = [std::fs::read(&report).unwrap(), std::fs::read(&table).unwrap()].concat();
    std::fs::write(&extended, both).unwrap();
    expect(3, &["attest", "verify", path(&extended), "--at", "2026-06-01"]);
    expect(1, &["attest", "verify", path(&report), "--at", "2026-06-01"]);
    // One of a kind, an endorsement key among them, and certificates of SNP alone.
    let twice = ["attest", "table", path(&cert), path(&cert), "--out", path(&table)];
    assert!(expect(2, &twice).1.contains("a second SEV-VCEK"));
    expect(2, &["attest", "table", path(&report), "--out", path(&table)]);
    expect(2, &["attest", "table", "--out", path(&table)]);
    std::fs::remove_file(table).unwrap();
    std::fs::remove_file(extended).unwrap();
}

#[test]
fn a_device_is_written_to_and_nothing_is_written_through_a_link() {
    let (report, cert) = (vector("reports/ms_turin.bin"), vector("reports/ms_turin.vcek.der"));
    let folder = scratch("links");
    std::fs::create_dir_all(&folder).unwrap();
    let verify = |record: &Path| {
        let arguments = ["attest", "verify", path(&report), "--cert", path(&cert), "-q"];
        [&arguments[..], &["--at", "2026-06-01", "--record", path(record)]]
            .concat()
            .into_iter()
            .map(ToOwned::to_owned)
            .collect::<Vec<String>>()
    };
    let run = |status, record: &Path| {
        expect(status, &verify(record).iter().map(String::as_str).collect::<Vec<_>>())
    };
    run(3, Path::new("/dev/null"));
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    let (record, link) = (folder.join("record.json"), folder.join("link"));
    run(3, &record);
    expect(3, &["attest", "replay", path(&record), "-q", "--at", "2026-06-01"]);
    std::fs::write(&record, "kept").unwrap();
    std::os::unix::fs::symlink(&record, &link).unwrap();
    let (_, err) = run(1, &link);
    assert!(err.contains("symbolic link"), "{err}");
    assert_eq!(std::fs::read(&record).unwrap(), b"kept");
    expect(1, &["attest", "verify", path(&report), "--record", path(&folder)]);
    let left = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(left, 2, "nothing temporary stays");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn mistakes_in_the_use_of_a_store_are_bad_input() {
    let (cert, chains) = (vector("reports/ms_turin.vcek.der"), vector("chains"));
    let store = scratch("no-store");
    let dir = ["attest", "certs", "--dir", path(&store)];
    let (_, err) = expect(2, &dir);
    assert!(err.contains("no such directory"), "{err}");
    expect(2, &["attest", "certs", "--dir", path(&cert)]);
    expect(2, &[&dir[..], &["--import", "/nonexistent"]].concat());
    let measure = vector("measure");
    let (_, err) = expect(2, &[&dir[..], &["--import", path(&measure)]].concat());
    assert!(err.contains("nothing in it was imported"), "{err}");
    assert!(!store.exists());
    let (out, _) = expect(0, &[&dir[..], &["--import", path(&chains)]].concat());
    assert_eq!(out.lines().filter(|line| line.starts_with("imported ")).count(), 9, "{out}");
    std::fs::remove_dir_all(&store).unwrap();
}

#[test]
fn a_certificate_in_place_of_a_report_is_called_no_report() {
    let cert = vector("reports/ms_turin.vcek.der");
    let (_, err) = expect(2, &["attest", "show", path(&cert)]);
    assert!(err.contains("1289 bytes that are neither a report"), "{err}");
    expect(1, &["attest", "verify", path(&cert)]);
    let report = vector("reports/ms_turin.bin");
    let (_, err) =
        expect(2, &["attest", "verify", path(&report), "--accept-model-root", path(&cert)]);
    assert!(err.contains("ms_turin.vcek.der") && err.contains("not a MODEL"), "{err}");
}
