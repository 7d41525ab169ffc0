//! Bodies for the key broker protocol: everything that a guest, a broker or whoever is between them
//! sends, and initdata.
//!
//! Oracles: no panic; bounded memory; what is read and written again is read as the same; a broker
//! gives every request one legal answer, opens a session only for the key that a report was made
//! for, and gives a secret only as that key opens it.

use casemate_attestation::cert::certificates_in;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::model::{Config as Chip, Finish, Guest, ModelRoot, Processor};
use casemate_attestation::record::Inputs;
use casemate_attestation::report::Generation;
use casemate_broker::stores::{
    Certificates, Decided, Entropy, Secrets, SessionId, Stores, Taken, Unavailable,
};
use casemate_broker::{Answer, Broker, BrokerKey, Call, Config, Event, Lifetimes};
use casemate_foreign_text as foreign;
use casemate_initdata::Initdata;
use casemate_kbs::{
    Attestation, Challenge, ErrorInformation, Request, Resource, Route, RuntimeData, Sealed,
    SessionKey, TokenAnswer, bearer, cookie_header, session_cookie, set_cookie, set_cookie_session,
    snp_evidence,
};
use casemate_policy::Policy;
use std::sync::OnceLock;

const FLOOR: u64 = 1024 * 1024;
/// 2026-06-01.
const NOW: u64 = 1_780_272_000;
const SECRET: &[u8] = b"swordfish";

fn bounded(data: &[u8], factor: u64, body: impl FnOnce()) {
    crate::bounded(FLOOR + factor * data.len() as u64, body);
}

/// A message of an error is one plain line of a bounded length.
fn plain<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().all(foreign::is_plain) && text.len() < 8192, "{text:?}");
            None
        }
    }
}

/// The body of `POST /kbs/v0/auth`.
pub fn request(data: &[u8]) {
    bounded(data, 64, || {
        if let Some(request) = plain(Request::read(data)) {
            assert_eq!(Request::read(request.to_json().as_bytes()), Ok(request));
        }
    });
}

/// The body of `POST /kbs/v0/attest`.
pub fn attestation(data: &[u8]) {
    bounded(data, 64, || {
        if let Some(read) = plain(Attestation::read(data)) {
            let again = read.to_json().unwrap();
            // It is longer by what the reader lets a sender leave out, and by escapes.
            if again.len() <= casemate_kbs::MAX_BODY {
                let again = Attestation::read(again.as_bytes()).unwrap();
                assert_eq!(again.runtime.canonical(), read.runtime.canonical());
                assert_eq!(again.init_data, read.init_data);
                assert_eq!(again.evidence.get(), read.evidence.get());
            }
        }
    });
}

/// What a broker answers, as a guest reads it: the first byte says which answer.
pub fn answers(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    bounded(data, 64, || match which % 4 {
        0 => {
            if let Some(challenge) = plain(Challenge::read(body)) {
                assert_eq!(Challenge::read(challenge.to_json().as_bytes()), Ok(challenge));
            }
        }
        1 => {
            if let Some(token) = plain(TokenAnswer::read(body)) {
                assert_eq!(TokenAnswer::read(token.to_json().as_bytes()), Ok(token));
            }
        }
        2 => {
            if let Some(sealed) = plain(Sealed::read(body)) {
                let _ = plain(sealed.open(&SessionKey::new(&[0x11; 32]).unwrap()));
            }
        }
        _ => {
            if let Some(refusal) = plain(ErrorInformation::read(body)) {
                let written = refusal.to_json();
                if written.len() <= casemate_kbs::MAX_BODY {
                    assert_eq!(ErrorInformation::read(written.as_bytes()), Ok(refusal));
                }
            }
        }
    });
}

/// Headers of requests and answers.
pub fn headers(data: &[u8]) {
    bounded(data, 8, || {
        let session = plain(session_cookie(data)).flatten();
        let token = plain(bearer(data));
        let set = plain(set_cookie_session(data)).flatten();
        for one in [session, token, set].into_iter().flatten() {
            assert_eq!(session_cookie(cookie_header(one).as_bytes()), Ok(Some(one)));
            assert_eq!(set_cookie_session(set_cookie(one, 1).as_bytes()), Ok(Some(one)));
        }
    });
}

/// Paths, and names of resources.
pub fn path(data: &[u8]) {
    bounded(data, 8, || {
        let Ok(text) = std::str::from_utf8(data) else { return };
        if let Some(Route::Resource(resource)) = plain(Route::read(text)) {
            assert_eq!(resource.path(), text);
            assert!(!text.contains("..") || !text.split('/').any(|part| part.starts_with('.')));
        }
        for name in [plain(Resource::read(text)), plain(Resource::read_uri(text))] {
            let Some(name) = name else { continue };
            assert_eq!(name.name().split('/').count(), 3);
            assert_eq!(Route::read(&name.path()), Ok(Route::Resource(name)));
        }
    });
}

/// Initdata.
pub fn initdata(data: &[u8]) {
    bounded(data, 256, || {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let hash = casemate_initdata::host_data(data);
        let read = plain(Initdata::read(text));
        assert_eq!(Initdata::proven(text, &hash).ok(), read);
        let Some(read) = read else { return };
        // Escapes can make what is written longer than what is read.
        if let Ok(written) = casemate_initdata::document(read.members()) {
            let again = Initdata::read(&written).unwrap();
            assert!(again.members().eq(read.members()));
        }
        assert!(Initdata::proven(text, &[0; 32]).is_err());
    });
}

/// A broker, one guest that it knows, and a whole exchange of theirs.
struct World {
    broker: Broker,
    vcek: Vec<u8>,
    key: SessionKey,
    /// The cookie of the challenge, the body that answers it, the token of the session.
    cookie: String,
    body: String,
    token: String,
}

/// The same numbers each time: challenges of this broker are alike.
struct Counting;

impl Entropy for Counting {
    fn fill(&self, to: &mut [u8]) -> Result<(), Unavailable> {
        to.iter_mut().zip(1..).for_each(|(to, n)| *to = n);
        Ok(())
    }
}

struct OneCertificate<'a>(&'a [u8]);

impl Certificates for OneCertificate<'_> {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        inputs.report.clone_from(&evidence.report);
        inputs.vek = Some(self.0.to_vec());
        Ok(())
    }
}

struct OneSecret;

impl Secrets for OneSecret {
    fn uses(&self, _: &str, _: SessionId, _: u64) -> Result<u64, Unavailable> {
        Ok(1)
    }

    fn take(&self, _: &Decided<'_>) -> Result<Taken, Unavailable> {
        Ok(Taken::Secret { secret: SECRET.to_vec().into(), version: 1 })
    }
}

impl World {
    fn call(&self, call: &Call<'_>) -> Answer {
        let certificates = &OneCertificate(&self.vcek);
        let stores = Stores { certificates, secrets: &OneSecret, entropy: &Counting };
        self.broker.answer(call, NOW, &stores)
    }

    fn new() -> Self {
        let stored = include_bytes!("../../attestation/tests/data/model_root.json");
        let root = ModelRoot::from_bytes(stored).unwrap();
        let bundle = certificates_in(root.bundle_pem().as_bytes()).unwrap();
        let model_roots = bundle.iter().map(|one| one.der().to_vec()).collect();
        let processor = Processor::new(&root, Chip::new(Generation::Turin).unwrap()).unwrap();
        let mut guest = Guest::start(&processor, 0x30000).unwrap();
        guest.finish(&Finish::default()).unwrap();
        let policy = include_str!("../policies/kbs.toml");
        let config = Config {
            key: BrokerKey::new(&[7; 32]),
            policy: Policy::load(policy, "kbs.toml").unwrap(),
            terms: Inputs { model_roots, ..Inputs::default() },
            lifetimes: Lifetimes::default(),
        };
        let mut world = Self {
            broker: Broker::new(config),
            vcek: processor.vcek().to_vec(),
            key: SessionKey::new(&[3; 32]).unwrap(),
            cookie: String::new(),
            body: String::new(),
            token: String::new(),
        };
        let body = br#"{"version":"0.4.0","tee":"snp","extra-params":""}"#;
        let call = Call { method: "POST", path: "/kbs/v0/auth", body, ..Call::default() };
        let answer = world.call(&call);
        let (_, set) = &answer.headers[0];
        world.cookie = set_cookie_session(set.as_bytes()).unwrap().unwrap().to_owned();
        let nonce = Challenge::read(&answer.body).unwrap().nonce;
        let runtime = RuntimeData { nonce, tee_pubkey: world.key.public() };
        let report = processor.report(guest.state(), runtime.report_data(), 0, 1).unwrap();
        let evidence = snp_evidence(&report).unwrap();
        world.body = Attestation { init_data: None, runtime, evidence }.to_json().unwrap();
        let answer = world.attest(&world.cookie, world.body.as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        world.token = TokenAnswer::read(&answer.body).unwrap().token;
        assert_eq!(world.get(&world.token, "a/b/c").status, 200);
        world
    }

    fn attest(&self, cookie: &str, body: &[u8]) -> Answer {
        let cookie = cookie_header(cookie);
        let cookie = Some(cookie.as_bytes());
        self.call(&Call { method: "POST", path: "/kbs/v0/attest", cookie, body, ..Call::default() })
    }

    fn get(&self, token: &str, resource: &str) -> Answer {
        let (cookie, path) = (cookie_header(token), format!("/kbs/v0/resource/{resource}"));
        let cookie = Some(cookie.as_bytes());
        self.call(&Call { method: "GET", path: &path, cookie, ..Call::default() })
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

/// What holds for every answer.
fn legal(answer: &Answer) {
    assert!([200, 400, 401, 403, 404].contains(&answer.status), "{}", answer.status);
    for (name, value) in &answer.headers {
        let printable = |text: &str| text.bytes().all(|b| (0x20..0x7f).contains(&b));
        assert!(printable(name) && printable(value), "{name}: {value}");
    }
    if answer.status != 200 {
        let refusal = ErrorInformation::read(&answer.body).unwrap();
        assert!(refusal.detail.chars().all(foreign::is_plain), "{:?}", refusal.detail);
        assert!(matches!(answer.told.event, Event::Refused { failure: None, .. }));
    }
    let ours = SessionId(world().key.public().thumbprint());
    match &answer.told.event {
        Event::Attested { session, .. } => assert_eq!(*session, ours),
        Event::Released { session, .. } => {
            assert_eq!(*session, ours);
            let sealed = Sealed::read(&answer.body).unwrap();
            assert_eq!(sealed.open(&world().key).unwrap().as_slice(), SECRET);
        }
        Event::Challenged | Event::Refused { .. } => {}
    }
}

/// A request to a broker: lines of method, path, `Cookie`, `Authorization`, then the body.
pub fn broker(data: &[u8]) {
    let world = world();
    let mut parts = data.splitn(5, |byte| *byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (method, path, cookie, authorization, body) = (part(), part(), part(), part(), part());
    let (Ok(method), Ok(path)) = (std::str::from_utf8(method), std::str::from_utf8(path)) else {
        return;
    };
    let given = |header: &'_ [u8]| (!header.is_empty()).then(|| header.to_vec());
    let (cookie, authorization) = (given(cookie), given(authorization));
    let call = Call {
        method,
        path,
        cookie: cookie.as_deref(),
        authorization: authorization.as_deref(),
        body,
    };
    bounded(data, 64, || legal(&world.call(&call)));
}

/// A genuine exchange, changed: three bytes each for a place in cookie, body or token, and what
/// stands there then.
pub fn session(data: &[u8]) {
    let world = world();
    let (mut cookie, mut body) =
        (world.cookie.clone().into_bytes(), world.body.clone().into_bytes());
    let mut token = world.token.clone().into_bytes();
    for change in data.chunks_exact(3).take(16) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]]));
        let text = match at % 8 {
            0 => &mut cookie,
            1 => &mut token,
            _ => &mut body,
        };
        let at = at / 8 * 7 % text.len();
        text[at] = change[2];
    }
    bounded(data, 64, || {
        let (cookie, token) = (String::from_utf8_lossy(&cookie), String::from_utf8_lossy(&token));
        let attested = world.attest(&cookie, &body);
        legal(&attested);
        assert!(attested.status != 200 || *cookie == world.cookie, "another cookie");
        let released = world.get(&token, "a/b/c");
        legal(&released);
        assert!(released.status != 200 || *token == world.token, "another token");
    });
}
