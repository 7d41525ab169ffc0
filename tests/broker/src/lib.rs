//! A MODEL of a key broker's server: the real decisions (`workload/broker`) behind TLS 1.3 and
//! HTTP/1.1 of this file, one connection after the other, with secrets in memory. For tests of its
//! guests; it bounds nothing and keeps nothing.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "for tests")]

use casemate_broker::stores::{
    Certificates, Decided, Secrets, SessionId, Stores, Taken, Unavailable,
};
use casemate_broker::{Answer, Broker, BrokerKey, Call, Config, Lifetimes};
use casemate_policy::Policy;
use ring::rand::SystemRandom;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ServerConfig;
use rustls::{ServerConnection, Stream};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Result, Write};
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// A key of a MODEL broker, which is no secret, and its certificate.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    key: &'static [u8],
    certificate: &'static [u8],
    /// SHA-256 of the public key, by openssl.
    pub hash: &'static str,
}

/// The broker of every test.
pub const ONE: Identity = Identity {
    key: include_bytes!("../data/one.key"),
    certificate: include_bytes!("../data/one.crt"),
    hash: include_str!("../data/one.sha256"),
};
/// Somebody else.
pub const OTHER: Identity = Identity {
    key: include_bytes!("../data/other.key"),
    certificate: include_bytes!("../data/other.crt"),
    hash: include_str!("../data/other.sha256"),
};

impl Identity {
    /// The hash without the end of its line.
    #[must_use]
    pub fn pin(&self) -> &'static str {
        self.hash.trim_end()
    }

    /// The certificate, DER.
    #[must_use]
    pub const fn certificate(&self) -> &'static [u8] {
        self.certificate
    }

    /// A server of TLS that holds this key.
    #[must_use]
    pub fn server(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key));
        let chain = vec![CertificateDer::from(self.certificate)];
        let config = ServerConfig::builder().with_no_client_auth();
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }
}

/// Secrets in memory, counted once for each grant and session.
#[derive(Debug, Default)]
pub struct Memory {
    secrets: BTreeMap<String, Vec<u8>>,
    uses: Mutex<BTreeMap<String, BTreeSet<SessionId>>>,
}

impl Memory {
    /// These secrets.
    #[must_use]
    pub fn with(secrets: &[(&str, &[u8])]) -> Self {
        let secrets = secrets.iter().map(|(name, secret)| ((*name).to_owned(), secret.to_vec()));
        Self { secrets: secrets.collect(), ..Self::default() }
    }

    /// Uses of all grants.
    #[must_use]
    pub fn uses(&self) -> usize {
        self.uses.lock().unwrap().values().map(BTreeSet::len).sum()
    }
}

impl Secrets for Memory {
    fn uses(
        &self,
        grant: &str,
        session: SessionId,
        _: u64,
    ) -> std::result::Result<u64, Unavailable> {
        let uses = self.uses.lock().unwrap();
        let counted = uses.get(grant);
        let more = counted.is_none_or(|counted| !counted.contains(&session));
        Ok(u64::try_from(counted.map_or(0, BTreeSet::len)).unwrap() + u64::from(more))
    }

    fn take(&self, decided: &Decided<'_>) -> std::result::Result<Taken, Unavailable> {
        let Some(secret) = self.secrets.get(decided.resource.name()) else {
            return Ok(Taken::NotThere);
        };
        let grant = decided.grant.to_owned();
        self.uses.lock().unwrap().entry(grant).or_default().insert(decided.session);
        Ok(Taken::Secret { secret: Zeroizing::new(secret.clone()), version: 1 })
    }
}

/// The server.
pub struct ModelBroker<C> {
    /// The decisions.
    pub broker: Broker,
    /// What it gives.
    pub secrets: Memory,
    /// Where it finds certificates.
    pub certificates: C,
    /// Who it is.
    pub identity: Identity,
    /// What it takes for the time, and says in `Date`.
    pub now: u64,
    /// The same as a date.
    pub date: &'static str,
    /// Ends the connection behind each answer.
    pub one_answer_each: bool,
}

impl<C> std::fmt::Debug for ModelBroker<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModelBroker")
    }
}

/// A broker's decisions under this policy, which trusts these MODEL roots.
#[must_use]
pub fn broker(policy: Policy, model_roots: Vec<Vec<u8>>) -> Broker {
    let terms = casemate_attestation::record::Inputs { model_roots, ..Default::default() };
    let key = BrokerKey::new(&[7; 32]);
    Broker::new(Config { key, policy, terms, lifetimes: Lifetimes::default() })
}

impl<C: Certificates> ModelBroker<C> {
    /// Serves one connection to its end.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn serve(&self, mut stream: impl Read + Write) -> Result<()> {
        let mut tls = ServerConnection::new(self.identity.server()).unwrap();
        let mut stream = Stream::new(&mut tls, &mut stream);
        let mut bytes = Vec::new();
        loop {
            let Some((head, body)) = request(&mut stream, &mut bytes)? else { return Ok(()) };
            let answer = self.answer(&head, &body);
            stream.write_all(&self.written(&answer))?;
            stream.flush()?;
            if self.one_answer_each {
                stream.conn.send_close_notify();
                return stream.flush();
            }
        }
    }

    fn answer(&self, head: &str, body: &[u8]) -> Answer {
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let cookie = header(head, "cookie").map(str::as_bytes);
        let call = Call { method, path, cookie, authorization: None, body };
        let entropy = &SystemRandom::new();
        let stores = Stores { certificates: &self.certificates, secrets: &self.secrets, entropy };
        let answer = self.broker.answer(&call, self.now, &stores);
        eprintln!("MODEL broker: {method} {path}: {} {:?}", answer.status, answer.told.event);
        answer
    }

    fn written(&self, answer: &Answer) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} x\r\n", answer.status);
        for (name, value) in &answer.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let length = answer.body.len();
        let close = if self.one_answer_each { "Connection: close\r\n" } else { "" };
        let date = self.date;
        text.push_str(&format!("Date: {date}\r\n{close}Content-Length: {length}\r\n\r\n"));
        [text.as_bytes(), &answer.body].concat()
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The next request of a connection; None at its end.
fn request(stream: &mut impl Read, bytes: &mut Vec<u8>) -> Result<Option<(String, Vec<u8>)>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|part| part == b"\r\n\r\n") {
            let head = String::from_utf8(bytes.get(..end).unwrap().to_vec()).unwrap();
            let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
            let (begin, end) = (end + 4, end + 4 + length);
            if bytes.len() >= end {
                let body = bytes.get(begin..end).unwrap().to_vec();
                bytes.drain(..end);
                return Ok(Some((head, body)));
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part)? {
            0 => return Ok(None),
            read => bytes.extend(part.get(..read).unwrap()),
        }
    }
}
