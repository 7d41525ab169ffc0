//! `casemate attest certs --fetch` against a key server on the loopback interface: a MODEL of
//! AMD's, with AMD's own files.
#![cfg(feature = "fetch")]
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/");

/// Answers requests in turn: for each the start of its path, a status, further header lines and a
/// body.
struct Answer {
    path: &'static str,
    status: &'static str,
    headers: &'static str,
    body: Vec<u8>,
}

fn answer(path: &'static str, status: &'static str, body: &str) -> Answer {
    let body = if body.is_empty() {
        Vec::new()
    } else {
        std::fs::read(format!("{VECTORS}{body}")).unwrap()
    };
    Answer { path, status, headers: "", body }
}

/// A MODEL key server that gives these answers, one for each connection. Returns its address and
/// what was asked.
fn model_server(answers: Vec<Answer>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    std::thread::spawn(move || {
        for Answer { path, status, headers, body } in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let asked_path = request.split(' ').nth(1).unwrap().to_owned();
            let status = if asked_path.starts_with(path) { status } else { "400 Unexpected" };
            log.lock().unwrap().push(asked_path);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
            );
            stream.write_all(head.as_bytes()).unwrap();
            let _ = stream.write_all(&body);
        }
    });
    (address, asked)
}

fn store(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("fetch-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

fn fetch(folder: &Path, report: &str, server: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["attest", "certs", "--fetch", "--kds-url", server, "--dir"])
        .arg(folder)
        .args(["--for", &format!("{VECTORS}{report}")])
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn what_is_missing_is_fetched_once_after_the_wait_that_the_server_asks_for() {
    let mut busy = answer("/vcek/v1/Genoa/b1e24a27", "429 Too Many Requests", "");
    busy.headers = "Retry-After: 0\r\n";
    let mut broken = answer("/vcek/v1/Genoa/b1e24a27", "503 Service Unavailable", "");
    broken.headers = "Retry-After: 0\r\n";
    let (server, asked) = model_server(vec![
        busy,
        broken,
        answer("/vcek/v1/Genoa/b1e24a27", "200 OK", "reports/ms_genoa.vcek.der"),
        answer("/vcek/v1/Genoa/crl", "200 OK", "crls/genoa_crl_4.der"),
        answer("/vcek/v1/Genoa/crl", "200 OK", "crls/genoa_crl_4.der"),
    ]);
    let folder = store("once");
    let first = fetch(&folder, "reports/ms_genoa.bin", &server);
    assert!(first.status.success(), "{}", text(&first));
    assert!(text(&first).contains("endorsement certificate: in the store"), "{}", text(&first));
    // The next update of that list is past: it is kept with its dates and asked for again, the
    // certificate is not.
    assert!(text(&first).contains("STALE, issued 20"), "{}", text(&first));
    let second = fetch(&folder, "reports/ms_genoa.bin", &server);
    assert!(second.status.success(), "{}", text(&second));
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 5, "{asked:?}");
    assert!(asked[0].ends_with("?blSPL=10&teeSPL=00&snpSPL=23&ucodeSPL=84"), "{asked:?}");
    let verify = Command::new(env!("CARGO_BIN_EXE_casemate"))
        .args(["attest", "verify", "-q", "--at", "2025-10-01", "--certs-dir"])
        .arg(&folder)
        .arg(format!("{VECTORS}reports/ms_genoa.bin"))
        .output()
        .unwrap();
    // Of 2026, so not valid then: but found.
    assert!(text(&verify).contains("VALIDITY"), "{}", text(&verify));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn another_certificate_than_asked_for_is_a_failure() {
    let folder = store("other");
    let (server, _) =
        model_server(vec![answer("/vcek/v1/Turin/", "200 OK", "reports/virtee_turin.vcek.der")]);
    let output = fetch(&folder, "reports/ms_turin.bin", &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("another chip's or TCB's"), "{}", text(&output));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_the_server_sends_altered_is_refused_and_not_kept() {
    let alter = |mut answer: Answer| {
        *answer.body.last_mut().unwrap() ^= 1;
        answer
    };
    let folder = store("altered");
    // The chain is asked for first: a new ASK could have signed it.
    let (server, _) = model_server(vec![
        alter(answer("/vcek/v1/Turin/", "200 OK", "reports/ms_turin.vcek.der")),
        answer("/vcek/v1/Turin/cert_chain", "200 OK", "chains/turin/ask.der"),
    ]);
    let output = fetch(&folder, "reports/ms_turin.bin", &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("not genuine"), "{}", text(&output));
    assert!(!folder.join("turin/vcek").exists(), "the certificate was not kept");
    let (server, _) = model_server(vec![
        answer("/vcek/v1/Genoa/", "200 OK", "reports/ms_genoa.vcek.der"),
        alter(answer("/vcek/v1/Genoa/crl", "200 OK", "crls/genoa_crl_4.der")),
    ]);
    let output = fetch(&folder, "reports/ms_genoa.bin", &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("not genuine"), "{}", text(&output));
    assert!(!folder.join("genoa/crl").exists(), "the list was not kept");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_report_under_a_vlek_is_given_the_list_of_its_own_chain() {
    let folder = store("vlek");
    let (server, asked) =
        model_server(vec![answer("/vlek/v1/Milan/crl", "200 OK", "crls/milan_crl_6.der")]);
    let output = fetch(&folder, "reports/trustee_test-vlek-report.bin", &server);
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(*asked.lock().unwrap(), ["/vlek/v1/Milan/crl"]);
    assert!(text(&output).contains("Milan revocation list for VLEKs: STALE"), "{}", text(&output));
    assert!(folder.join("milan/crl/vlek").exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_report_that_does_not_tell_its_generation_is_looked_up_under_both() {
    let folder = store("both");
    let (server, asked) = model_server(vec![
        answer("/vcek/v1/Milan/", "404 Not Found", ""),
        answer("/vcek/v1/Genoa/", "404 Not Found", ""),
    ]);
    let output = fetch(&folder, "reports/virtee_milan.bin", &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("404"), "{}", text(&output));
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn a_server_that_sends_something_else_or_too_much_is_refused() {
    let folder = store("junk");
    let mut junk = answer("/vcek/v1/Turin/", "200 OK", "");
    junk.body = b"<html>busy</html>".to_vec();
    let mut flood = answer("/vcek/v1/Turin/", "200 OK", "");
    flood.body = vec![b'0'; 300 * 1024];
    for (given, wanted) in [(junk, "something else"), (flood, "larger than 256 KiB")] {
        let (server, _) = model_server(vec![given]);
        let output = fetch(&folder, "reports/ms_turin.bin", &server);
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output).contains(wanted), "{}", text(&output));
    }
    assert!(!folder.join("turin").exists(), "nothing was kept");
}

#[test]
fn a_redirect_is_not_followed() {
    let folder = store("redirect");
    let mut away = answer("/vcek/v1/Turin/", "302 Found", "");
    away.headers = "Location: http://127.0.0.1:1/\r\n";
    let (server, _) = model_server(vec![away]);
    let output = fetch(&folder, "reports/ms_turin.bin", &server);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("302"), "{}", text(&output));
}
