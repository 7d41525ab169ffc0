//! The MODEL broker as a program, for guests in a virtual host: it listens at a socket of the file
//! system and serves one connection after the other until it is killed.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "for tests")]

use casemate_attestation::cert::certificates_in;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::record::Inputs;
use casemate_broker::stores::{Certificates, Unavailable};
use casemate_policy::Policy;
use casemate_test_broker::{Memory, ModelBroker, ONE, OTHER, broker};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

const USAGE: &str =
    "casemate-test-broker one|other SOCKET POLICY VCEK ROOTS DATE SECONDS [NAME=SECRET...]";

/// One chip's certificate.
struct One(Vec<u8>);

impl Certificates for One {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        inputs.report.clone_from(&evidence.report);
        inputs.vek = Some(self.0.clone());
        Ok(())
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [who, socket, policy, vcek, roots, date, seconds, secrets @ ..] = &args[..] else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let policy = Policy::load(&std::fs::read_to_string(policy).unwrap(), policy)
        .unwrap_or_else(|error| panic!("{error}"));
    let roots = certificates_in(&std::fs::read(roots).unwrap()).unwrap_or_default();
    let roots = roots.iter().map(|one| one.der().to_vec()).collect();
    let secrets: Vec<(&str, &[u8])> = secrets
        .iter()
        .map(|one| one.split_once('=').expect("NAME=SECRET"))
        .map(|(name, secret)| (name, secret.as_bytes()))
        .collect();
    let model = ModelBroker {
        broker: broker(policy, roots),
        secrets: Memory::with(&secrets),
        certificates: One(std::fs::read(vcek).unwrap()),
        identity: if who == "other" { OTHER } else { ONE },
        now: seconds.parse().expect("seconds since 1970"),
        date: date.clone().leak(),
        one_answer_each: false,
    };
    let listener = UnixListener::bind(socket).unwrap();
    std::fs::set_permissions(socket, PermissionsExt::from_mode(0o777)).unwrap();
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        if let Err(error) = model.serve(stream) {
            eprintln!("MODEL broker: {error}");
        }
    }
}
