//! Protects a guest's secrets on their way: a guest that proves itself gets what its image names,
//! from the broker whose key it pins and from nobody else, over connections that its host cuts,
//! delays and rewrites; what is refused is refused with the right word, no use is taken by it, and
//! nothing is waited for beyond the bound. The broker is a MODEL of a server with the real
//! decisions, the processor a MODEL. Cannot tell what a socket of a guest does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::indexing_slicing, reason = "tests")]

use casemate_attestation::cert::certificates_in;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::model::{Config as Chip, Finish, Guest, ModelRoot, Processor};
use casemate_attestation::record::Inputs;
use casemate_attestation::report::Generation;
use casemate_broker::stores::{Certificates, Unavailable};
use casemate_broker_client::{Around, Bounds, ClientError, Session, fetch, hash_of_key, pinned};
use casemate_kbs::{Resource, SessionKey};
use casemate_policy::Policy;
use casemate_test_broker::{Identity, Memory, ModelBroker, ONE, OTHER, broker};
use std::io::{Read, Result as IoResult, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// 2026-06-01.
const NOW: u64 = 1_780_272_000;
const DATE: &str = "Mon, 01 Jun 2026 00:00:00 GMT";
const INITDATA: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"a\" = \"b\"\n";

fn root() -> &'static ModelRoot {
    static ROOT: OnceLock<ModelRoot> = OnceLock::new();
    let stored = include_bytes!("../../../attestation/tests/data/model_root.json");
    ROOT.get_or_init(|| ModelRoot::from_bytes(stored).unwrap())
}

struct Machine {
    processor: Processor,
    guest: Guest,
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let chip = Chip::new(Generation::Turin).unwrap();
        let processor = Processor::new(root(), chip).unwrap();
        let mut guest = Guest::start(&processor, 0x30000).unwrap();
        let host_data = casemate_initdata::host_data(INITDATA.as_bytes());
        guest.finish(&Finish { host_data, ..Finish::default() }).unwrap();
        Machine { processor, guest }
    })
}

struct Chips;

impl Certificates for Chips {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        inputs.report.clone_from(&evidence.report);
        inputs.vek = Some(machine().processor.vcek().to_vec());
        Ok(())
    }
}

const OPEN: &str = "generations reported_tcb launch_tcb chip_allow measurement host_data id_key \
    author_key family_id image_id platform_info guest_policy csp_id model_root crl_checked \
    crl_age_hours";

/// A policy with a grant of `acme/db/*` to the one guest.
fn policy() -> Policy {
    let open: String = OPEN.split(' ').map(|name| format!("{name} = \"any\"\n")).collect();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let measurement = hex(&machine().guest.state().measurement);
    let host_data = hex(&casemate_initdata::host_data(INITDATA.as_bytes()));
    let text = format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n{open}guest_svn = 0\n\
         context = [\"casemate-kbs-v1\"]\n[secrets.\"acme/db/*\"]\n\
         measurement = [\"{measurement}\"]\nhost_data = [\"{host_data}\"]\n\
         context = [\"casemate-kbs-v1\"]\nuses = 1\nwindow = \"any\"\n"
    );
    Policy::load(&text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn model(identity: Identity, one_answer_each: bool) -> ModelBroker<Chips> {
    let bundle = certificates_in(root().bundle_pem().as_bytes()).unwrap();
    let roots = bundle.iter().map(|one| one.der().to_vec()).collect();
    let secrets: [(&str, &[u8]); 2] =
        [("acme/db/key", b"the key of the disk"), ("acme/db/large", &[7; 300_000])];
    ModelBroker {
        broker: broker(policy(), roots),
        secrets: Memory::with(&secrets),
        certificates: Chips,
        identity,
        now: NOW,
        date: DATE,
        one_answer_each,
    }
}

/// A guest with the MODEL processor, or with none.
#[derive(Default)]
struct World {
    unprotected: bool,
    /// The nonce's place in REPORT_DATA is another one.
    other_data: bool,
    floor: u64,
    clock: Vec<u64>,
}

impl Around for World {
    fn report(&mut self, data: &[u8; 64]) -> IoResult<Option<Vec<u8>>> {
        let data = if self.other_data { [1; 64] } else { *data };
        let Machine { processor, guest } = machine();
        let report = processor.report(guest.state(), data, 0, 1).unwrap();
        Ok((!self.unprotected).then(|| report.to_vec()))
    }

    fn time(&mut self, seconds: u64) -> Result<(), ClientError> {
        self.clock.push(seconds);
        if seconds < self.floor { Err(ClientError::Clock) } else { Ok(()) }
    }
}

fn pins(keys: &[&str]) -> Vec<[u8; 32]> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let hash = |key: &str| key.as_bytes().chunks(2).map(byte).collect::<Vec<_>>();
    keys.iter().map(|key| hash(key).try_into().unwrap()).collect()
}

type Secrets = Result<Vec<Zeroizing<Vec<u8>>>, ClientError>;

fn wanted(names: &[&str]) -> Session {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut random = [3; 32];
    random[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    let wanted = names.iter().map(|name| Resource::read(name).unwrap()).collect();
    Session::new(SessionKey::new(&random).unwrap(), wanted, Some(INITDATA.to_owned()))
}

/// A guest beside a broker to which each connection leads through `way`.
fn ask<S: Read + Write>(
    model: &Arc<ModelBroker<Chips>>,
    names: &[&str],
    keys: &[&str],
    world: &mut World,
    mut way: impl FnMut(UnixStream) -> S,
) -> Secrets {
    let mut connect = || {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(Duration::from_secs(20)))?;
        let model = Arc::clone(model);
        std::thread::spawn(move || model.serve(theirs));
        Ok(way(ours))
    };
    let tls = pinned(pins(keys)).unwrap();
    fetch(wanted(names), &tls, &mut connect, world, Bounds { total: Duration::from_secs(60) })
}

fn plain(
    model: &Arc<ModelBroker<Chips>>,
    names: &[&str],
    keys: &[&str],
    world: &mut World,
) -> Secrets {
    ask(model, names, keys, world, |stream| stream)
}

#[test]
fn a_guest_gets_its_secrets_and_the_brokers_time_in_one_session() {
    for one_answer_each in [false, true] {
        let model = Arc::new(model(ONE, one_answer_each));
        let mut world = World { floor: NOW, ..World::default() };
        let names = ["acme/db/key", "acme/db/large", "acme/db/key"];
        let got = plain(&model, &names, &[OTHER.pin(), ONE.pin()], &mut world).unwrap();
        assert_eq!(&got[0][..], b"the key of the disk");
        assert_eq!((got[1].len(), &got[2]), (300_000, &got[0]));
        assert_eq!(world.clock, [NOW]);
        // Three questions of one session, of which the grant admits one.
        assert_eq!(model.secrets.uses(), 1);
    }
}

/// `openssl` printed the hashes; `casemate kbs init` and `--broker-key` have to mean the same.
#[test]
fn the_hash_of_a_key_is_the_one_that_others_print() {
    for identity in [ONE, OTHER] {
        assert_eq!(vec![hash_of_key(identity.certificate()).unwrap()], pins(&[identity.pin()]));
    }
    assert!(hash_of_key(b"no certificate").is_err());
}

#[test]
fn a_broker_of_another_key_is_refused_before_anything_is_said_to_it() {
    let model = Arc::new(model(OTHER, false));
    let mut world = World::default();
    let refused = plain(&model, &["acme/db/key"], &[ONE.pin()], &mut world);
    assert!(
        matches!(&refused, Err(ClientError::WrongKey(key)) if key == OTHER.pin()),
        "{refused:?}"
    );
    assert!(world.clock.is_empty() && model.secrets.uses() == 0);
}

/// A stolen certificate: whoever shows it does not hold its key, so signs with another one.
#[test]
fn who_shows_the_certificate_without_its_key_is_refused() {
    struct Thief;
    impl rustls::server::ResolvesServerCert for Thief {
        fn resolve(
            &self,
            _: rustls::server::ClientHello<'_>,
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            let own = OTHER.server();
            let _ = own;
            let key = rustls::pki_types::PrivatePkcs8KeyDer::from(OTHER_KEY);
            let key = rustls::crypto::ring::sign::any_ecdsa_type(&key.into()).unwrap();
            let chain = vec![rustls::pki_types::CertificateDer::from(ONE.certificate())];
            Some(Arc::new(rustls::sign::CertifiedKey::new(chain, key)))
        }
    }
    impl std::fmt::Debug for Thief {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Thief")
        }
    }
    const OTHER_KEY: &[u8] = include_bytes!("../../../tests/broker/data/other.key");
    let server = rustls::server::ServerConfig::builder().with_no_client_auth();
    let server = Arc::new(server.with_cert_resolver(Arc::new(Thief)));
    let mut connect =
        || {
            let (ours, mut theirs) = UnixStream::pair()?;
            let mut tls = rustls::ServerConnection::new(Arc::clone(&server)).unwrap();
            std::thread::spawn(move || {
                while tls.is_handshaking() && tls.complete_io(&mut theirs).is_ok() {}
            });
            Ok(ours)
        };
    let tls = pinned(pins(&[ONE.pin()])).unwrap();
    let bounds = Bounds { total: Duration::from_secs(60) };
    let got = fetch(wanted(&["acme/db/key"]), &tls, &mut connect, &mut World::default(), bounds);
    assert!(matches!(got, Err(ClientError::Tls(_))), "{got:?}");
}

#[test]
fn what_is_not_proven_not_granted_or_not_there_is_refused_with_its_word_and_takes_no_use() {
    let model = Arc::new(model(ONE, false));
    let pin = &[ONE.pin()];
    let ask = |names: &[&str], mut world: World| plain(&model, names, pin, &mut world);
    let none = World { unprotected: true, ..World::default() };
    let refused = ask(&["acme/db/key"], none);
    assert!(matches!(
        refused,
        Err(ClientError::NotProven(_) | ClientError::Failed { status: 400, .. })
    ));
    let other = World { other_data: true, ..World::default() };
    assert!(matches!(ask(&["acme/db/key"], other), Err(ClientError::NotProven(_))));
    let refused = ask(&["acme/web/key"], World::default()).unwrap_err();
    let ClientError::Denied { resource, why } = &refused else { panic!("{refused:?}") };
    assert!(resource == "acme/web/key" && !why.is_empty(), "{refused:?}");
    let refused = ask(&["acme/db/none"], World::default());
    assert!(matches!(&refused, Err(ClientError::NoSecret(name)) if name == "acme/db/none"));
    assert_eq!(model.secrets.uses(), 0);
    // The one use that there is, and then none.
    assert!(ask(&["acme/db/key"], World::default()).is_ok());
    assert!(matches!(ask(&["acme/db/key"], World::default()), Err(ClientError::Denied { .. })));
    assert_eq!(model.secrets.uses(), 1);
}

/// Without a time of the broker's the clock would stay the host's.
#[test]
fn a_broker_without_a_date_is_refused_before_it_is_believed() {
    let model = Arc::new(ModelBroker { date: "soon", ..model(ONE, false) });
    let mut world = World::default();
    let secrets = plain(&model, &["acme/db/key"], &[ONE.pin()], &mut world);
    assert!(matches!(secrets, Err(ClientError::Http(_))), "{:?}", secrets.err());
    assert_eq!(world.clock, [0; 0]);
}

#[test]
fn a_brokers_time_before_the_images_own_ends_the_session_before_a_secret() {
    let model = Arc::new(model(ONE, false));
    let mut world = World { floor: NOW + 1, ..World::default() };
    let refused = plain(&model, &["acme/db/key"], &[ONE.pin()], &mut world);
    assert!(matches!(refused, Err(ClientError::Clock)), "{refused:?}");
    assert_eq!(model.secrets.uses(), 0);
}

/// A stream of which a host lets so many bytes through, then cuts it; or changes one.
struct Host {
    stream: UnixStream,
    left: usize,
    flip: Option<usize>,
    seen: usize,
}

impl Read for Host {
    fn read(&mut self, to: &mut [u8]) -> IoResult<usize> {
        let most = to.len().min(self.left);
        let read = self.stream.read(&mut to[..most])?;
        if let Some(at) = self.flip.and_then(|at| at.checked_sub(self.seen)).filter(|at| *at < read)
        {
            to[at] ^= 1;
        }
        self.seen += read;
        self.left -= read;
        Ok(read)
    }
}

impl Write for Host {
    fn write(&mut self, from: &[u8]) -> IoResult<usize> {
        self.stream.write(from)
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

/// The same key asks again after a cut, so the same session's use is counted once.
#[test]
fn a_host_that_cuts_a_connection_costs_a_use_at_most_once_and_the_secret_comes_by_the_next() {
    for cut in [0, 100, 900, 1300, 1800, 2600, 4000] {
        let model = Arc::new(model(ONE, false));
        let mut first = true;
        let got = ask(&model, &["acme/db/key"], &[ONE.pin()], &mut World::default(), |stream| {
            let left = if std::mem::take(&mut first) { cut } else { usize::MAX };
            Host { stream, left, flip: None, seen: 0 }
        });
        assert_eq!(&got.unwrap()[0][..], b"the key of the disk", "{cut}");
        assert_eq!(model.secrets.uses(), 1, "{cut}");
    }
}

#[test]
fn a_host_that_always_cuts_or_rewrites_gets_a_word_and_no_secret() {
    let model = Arc::new(model(ONE, false));
    let mut world = World::default();
    let cut = ask(&model, &["acme/db/key"], &[ONE.pin()], &mut world, |stream| Host {
        stream,
        left: 700,
        flip: None,
        seen: 0,
    });
    assert!(matches!(cut, Err(ClientError::Unreachable(_))), "{cut:?}");
    for at in [0, 5, 60, 300, 700, 1000] {
        let model = Arc::new(self::model(ONE, false));
        let changed = ask(&model, &["acme/db/key"], &[ONE.pin()], &mut world, |stream| Host {
            stream,
            left: usize::MAX,
            flip: Some(at),
            seen: 0,
        });
        let told = matches!(
            changed,
            Err(ClientError::Tls(_) | ClientError::WrongKey(_) | ClientError::Unreachable(_))
        );
        // The version in a record's head means nothing (RFC 8446, 5.1): a change there is none.
        let same = matches!(&changed, Ok(got) if got[0][..] == *b"the key of the disk");
        assert!(told || same, "{at}: {changed:?}");
    }
    let nobody = fetch(
        wanted(&["acme/db/key"]),
        &pinned(pins(&[ONE.pin()])).unwrap(),
        &mut || -> IoResult<UnixStream> { Err(std::io::ErrorKind::ConnectionRefused.into()) },
        &mut world,
        Bounds { total: Duration::from_secs(60) },
    );
    assert!(matches!(nobody, Err(ClientError::Unreachable(_))));
}

/// A peer that sends one byte after the other, and never enough of them.
struct Dripping;

impl Read for Dripping {
    fn read(&mut self, to: &mut [u8]) -> IoResult<usize> {
        std::thread::sleep(Duration::from_millis(20));
        to[0] = 0x16;
        Ok(1)
    }
}

impl Write for Dripping {
    fn write(&mut self, from: &[u8]) -> IoResult<usize> {
        Ok(from.len())
    }

    fn flush(&mut self) -> IoResult<()> {
        Ok(())
    }
}

/// Cannot tell how long exactly it takes: on a busy machine anything may.
#[test]
fn a_peer_that_sends_a_byte_now_and_then_holds_nobody_beyond_the_bound() {
    let begin = Instant::now();
    let bound = Duration::from_millis(300);
    let got = fetch(
        wanted(&["acme/db/key"]),
        &pinned(pins(&[ONE.pin()])).unwrap(),
        &mut || Ok(Dripping),
        &mut World::default(),
        Bounds { total: bound },
    );
    assert!(matches!(got, Err(ClientError::TooLong | ClientError::Tls(_))), "{got:?}");
    assert!(begin.elapsed() >= bound || matches!(got, Err(ClientError::Tls(_))));
}
