//! What is around a front in tests: a keeper that answers as it is told, with the real messages and
//! a real key; and clients.

#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "for tests"
)]

use casemate_front::{Limits, Listener, Plan, Scheme, Sockets};
use casemate_relay::{Answer, Call, Inbox, ToFront, ToKeeper, stream};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring as provider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const KEY: &[u8] = include_bytes!("broker.p8");
pub const CERTIFICATE: &[u8] = include_bytes!("broker.der");

/// What a keeper does with a call.
#[derive(Debug, Clone)]
pub enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    Nothing,
    /// It ends, as one that was killed.
    Death,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::Answer(200, Vec::new(), body.into())
    }
}

/// What was asked, in one line: for answers that show it.
pub fn echo(call: &Call<'_>) -> Reply {
    let text = |bytes: Option<&[u8]>| bytes.map(|b| String::from_utf8_lossy(b).into_owned());
    let Call { peer, method, path, cookie, authorization, body } = *call;
    let (cookie, authorization) = (text(cookie), text(authorization));
    let line = format!("{peer:?} {method} {path} {cookie:?} {authorization:?} {}", body.len());
    Reply::Answer(200, vec![("Set-Cookie", "kbs-session-id=s".into())], line.into_bytes())
}

/// The other ends of a front's sockets.
pub struct Around {
    pub address: SocketAddr,
    pub path: PathBuf,
    /// The supervisor's end.
    pub control: Option<OwnedFd>,
    /// How often something was signed.
    pub signed: Arc<AtomicU64>,
    keeper: Option<(OwnedFd, OwnedFd)>,
}

impl Around {
    /// The keeper begins: it answers by `reply`, on threads of its own, which end with the front.
    pub fn keep(&mut self, reply: impl Fn(&Call<'_>) -> Reply + Send + 'static) {
        let (keeper, signer) = self.keeper.take().unwrap();
        let count = self.signed.clone();
        std::thread::spawn(move || keep(keeper.into(), reply));
        std::thread::spawn(move || sign(signer.into(), &count));
    }
}

impl Drop for Around {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// A front's start. No thread is begun: who spawns a process may have one only.
pub fn around(limits: Limits) -> (Around, Plan, Sockets) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("casemate-front-{}-{number}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let tcp = TcpListener::bind("0.0.0.0:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    tcp.set_nonblocking(true).unwrap();
    unix.set_nonblocking(true).unwrap();
    // The usual backlog is less than what a flood of these tests opens at once.
    rustix::net::listen(&tcp, 4096).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], tcp.local_addr().unwrap().port()));
    let (control, its_control) = pair(SocketType::SEQPACKET);
    let (keeper, its_keeper) = pair(SocketType::STREAM);
    let (signer, its_signer) = pair(SocketType::STREAM);
    let plan = Plan {
        limits,
        scheme: Scheme::P256,
        chain: vec![CERTIFICATE.to_vec()],
        listeners: vec![Listener::Tcp, Listener::Unix],
    };
    let sockets = Sockets {
        control: Arc::new(its_control),
        keeper: its_keeper,
        signer: its_signer,
        listeners: vec![tcp.into(), unix.into()],
    };
    let (control, keeper) = (Some(control), Some((keeper, signer)));
    (Around { address, path, control, signed: Arc::default(), keeper }, plan, sockets)
}

fn keep(mut socket: UnixStream, reply: impl Fn(&Call<'_>) -> Reply) {
    let mut inbox = Inbox::new();
    while stream::wait::<ToKeeper<'_>>(&mut inbox, &mut socket).unwrap_or(false) {
        let Ok(Some(ToKeeper::Call { id, call })) = inbox.next() else { panic!("no call") };
        match reply(&call) {
            Reply::Nothing => {}
            Reply::Death => return,
            Reply::Answer(status, headers, body) => {
                let headers = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
                let answer = Answer { status, headers, body: &body };
                if stream::send(&ToFront::Answer { id, answer }, &mut socket).is_err() {
                    return;
                }
            }
        }
    }
}

fn sign(mut socket: UnixStream, count: &AtomicU64) {
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, KEY, &random).unwrap();
    let mut inbox = Inbox::new();
    while stream::wait::<ToKeeper<'_>>(&mut inbox, &mut socket).unwrap_or(false) {
        let Ok(Some(ToKeeper::Sign { id, transcript })) = inbox.next() else { panic!("no hash") };
        let signature = key.sign(&random, &transcript.content()).unwrap();
        count.fetch_add(1, Ordering::Relaxed);
        let signature = Some(signature.as_ref());
        if stream::send(&ToFront::Signature { id, signature }, &mut socket).is_err() {
            return;
        }
    }
}

/// Takes the one certificate of these tests, and checks that its key signed the handshake.
#[derive(Debug)]
struct Pinned(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        assert_eq!(end_entity.as_ref(), CERTIFICATE);
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        panic!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A client's configuration of these versions of TLS and protocols behind it.
pub fn client_config(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let algorithms = provider::default_provider().signature_verification_algorithms;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(algorithms)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub fn usual() -> Arc<ClientConfig> {
    client_config(&[&rustls::version::TLS13], &["http/1.1"])
}

pub type Client<S> = StreamOwned<ClientConnection, S>;

pub fn over<S: Read + Write>(socket: S, config: &Arc<ClientConfig>) -> Client<S> {
    let name = ServerName::try_from("broker").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket)
}

/// A socket that comes from an address of this machine.
pub fn from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::new(source, 0)).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    socket.into()
}

pub fn tcp(around: &Around) -> Client<TcpStream> {
    over(TcpStream::connect(around.address).unwrap(), &usual())
}

pub fn unix(around: &Around) -> Client<UnixStream> {
    over(UnixStream::connect(&around.path).unwrap(), &usual())
}

/// An answer: its status, its head, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Told {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// The next answer of a connection; None when it ends before one begins.
pub fn answer(client: &mut impl Read) -> Option<Told> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ if head.is_empty() => return None,
            other => panic!("{other:?} in {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    client.read_exact(&mut body).unwrap();
    Some(Told { status, head, body })
}

pub fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: b\r\nContent-Length: {length}\r\n\r\n{body}")
}

pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: b\r\n\r\n")
}

/// Sends a request and waits for its answer.
pub fn ask(client: &mut (impl Read + Write), request: &str) -> Told {
    client.write_all(request.as_bytes()).unwrap();
    answer(client).unwrap()
}
