//! Waiting for a key server that refuses: how often, and how long.
#![cfg(feature = "fetch")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use casemate_attestation::fetch::{BackOff, FetchError, Fetcher};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

static WAITED: Mutex<Vec<u64>> = Mutex::new(Vec::new());

fn note(wait: Duration) {
    WAITED.lock().unwrap().push(wait.as_secs());
}

#[test]
fn waits_double_are_what_the_server_says_when_it_does_and_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let refusals = [
            "429 Too Many",
            "500 No",
            "429 Too Many\r\nRetry-After: 7",
            "503 No",
            "429 Too Many\r\nRetry-After: 100000",
        ];
        for status in refusals.into_iter().cycle() {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
        }
    });
    let back_off =
        BackOff { tries: 6, first: Duration::from_secs(10), longest: Duration::from_secs(60) };
    let error = Fetcher::new(Some(&address)).with_back_off(back_off, note).get("/crl").unwrap_err();
    assert!(matches!(error, FetchError::Refused { status: 429, tries: 6, .. }), "{error}");
    assert_eq!(*WAITED.lock().unwrap(), [10, 20, 7, 60, 60], "no wait is longer than allowed");
}
