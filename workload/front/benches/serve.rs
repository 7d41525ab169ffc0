//! The front's own processor time for a request, over a new connection and over one that is kept:
//! its thread's, kernel included, keeper and client aside; and beside it that of a TLS 1.3 server
//! with the same library and the key at hand, in memory, with no socket and no HTTP. Goals: with
//! the broker's share (`-p casemate-broker --bench exchange`) 4 ms and 2 ms for a full attestation,
//! which is three requests.
//!
//! `cargo bench -p casemate-front [-- CONNECTIONS]`
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    missing_docs,
    reason = "a measurement stops at what goes wrong"
)]

use casemate_front::{Front, Limits};
use casemate_test_front::{CERTIFICATE, KEY, Reply, around, ask, post, unix, usual};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, ServerConfig, ServerConnection};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The processor time of a thread of this process.
fn used(thread: i32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn print(what: &str, time: Duration, count: u32) {
    println!("{what:<52} {:>8.3} ms", time.as_secs_f64() * 1000.0 / f64::from(count));
}

/// A server's part of so many handshakes, with the key in the process.
fn handshakes(count: u32) -> Duration {
    let mut config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from(CERTIFICATE)],
                PrivateKeyDer::try_from(KEY.to_vec()).unwrap(),
            )
            .unwrap();
    config.send_tls13_tickets = 0;
    let (config, mut spent) = (Arc::new(config), Duration::ZERO);
    for _ in 0..count {
        let name = ServerName::try_from("broker").unwrap();
        let mut client = ClientConnection::new(usual(), name).unwrap();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let mut server: Option<ServerConnection> = None;
        while client.is_handshaking()
            || server.as_ref().is_none_or(|server| server.is_handshaking())
        {
            to_server.clear();
            client.write_tls(&mut to_server).unwrap();
            let begun = Instant::now();
            let server =
                server.get_or_insert_with(|| ServerConnection::new(config.clone()).unwrap());
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                server.read_tls(&mut rest).unwrap();
                server.process_new_packets().unwrap();
            }
            to_client.clear();
            while server.wants_write() {
                server.write_tls(&mut to_client).unwrap();
            }
            spent += begun.elapsed();
            let mut rest = &to_client[..];
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                client.process_new_packets().unwrap();
            }
        }
    }
    spent
}

fn main() {
    let count = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(1000);
    let (mut around, plan, sockets) = around(Limits::default());
    around.keep(|_| Reply::ok(vec![b'x'; 1000]));
    let mut front = Front::new(&plan, sockets).unwrap();
    let (tell, told) = mpsc::channel();
    let serving = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get()).unwrap();
        front.serve()
    });
    let thread = told.recv().unwrap();
    let request = post("/kbs/v0/attest", &"x".repeat(4000));
    ask(&mut unix(&around), &request);

    let before = used(thread);
    for _ in 0..count {
        assert_eq!(ask(&mut unix(&around), &request).status, 200);
    }
    print("front: a new connection and a request", used(thread).saturating_sub(before), count);
    let (before, mut client) = (used(thread), unix(&around));
    for _ in 0..count {
        assert_eq!(ask(&mut client, &request).status, 200);
    }
    print("front: a request of a kept connection", used(thread).saturating_sub(before), count);
    drop(client);
    print("TLS alone: a handshake with the key in the process", handshakes(count), count);
    around.control = None;
    serving.join().unwrap().unwrap();
}
