//! A MODEL processor with a guest, a policy that admits it, and stores in memory.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use casemate_attestation::cert::certificates_in;
use casemate_attestation::evidence::Evidence;
use casemate_attestation::model::{Config as Chip, Finish, Guest, ModelRoot, Processor};
use casemate_attestation::record::Inputs;
use casemate_attestation::report::Generation;
use casemate_attestation::{hex, time};
use casemate_broker::stores::{
    Certificates, Decided, Secrets, SessionId, Stores, Taken, Unavailable,
};
use casemate_broker::{Answer, Broker, BrokerKey, Call, Config, Lifetimes};
use casemate_kbs::{
    Attestation, Challenge, InitData, Nonce, Request, RuntimeData, Sealed, SessionKey, Tee,
    TokenAnswer, cookie_header, set_cookie_session, snp_evidence,
};
use casemate_policy::Policy;
use ring::rand::SystemRandom;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use zeroize::Zeroizing;

/// 2026-06-01.
pub const NOW: u64 = 1_780_272_000;
pub const INITDATA: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"a\" = \"b\"\n";

pub fn root() -> &'static ModelRoot {
    static ROOT: OnceLock<ModelRoot> = OnceLock::new();
    let stored = include_bytes!("../../../../attestation/tests/data/model_root.json");
    ROOT.get_or_init(|| ModelRoot::from_bytes(stored).unwrap())
}

/// A machine with one guest.
pub struct Machine {
    pub processor: Processor,
    pub guest: Guest,
}

impl Machine {
    pub fn new(generation: Generation) -> Self {
        assert_eq!(generation, Generation::Turin, "the stored MODEL root is Turin's");
        let processor = Processor::new(root(), Chip::new(generation).unwrap()).unwrap();
        let mut guest = Guest::start(&processor, 0x30000).unwrap();
        let host_data = casemate_initdata::host_data(INITDATA.as_bytes());
        guest.finish(&Finish { host_data, ..Finish::default() }).unwrap();
        Self { processor, guest }
    }

    /// The one machine of tests that change nothing of it.
    pub fn usual() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| Self::new(Generation::Turin))
    }

    pub fn report(&self, data: [u8; 64]) -> Vec<u8> {
        self.processor.report(self.guest.state(), data, 0, 1).unwrap().to_vec()
    }

    /// What a guest sends: evidence in the real client's form, without certificates.
    pub fn attestation(&self, nonce: Nonce, key: &SessionKey) -> Attestation {
        let runtime = RuntimeData { nonce, tee_pubkey: key.public() };
        let evidence = snp_evidence(&self.report(runtime.report_data())).unwrap();
        let init_data = Some(InitData { format: "toml".into(), body: INITDATA.into() });
        Attestation { init_data, runtime, evidence }
    }
}

/// The certificate of the usual machine, as a store would find it.
impl Certificates for Machine {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        inputs.report.clone_from(&evidence.report);
        inputs.vek = Some(self.processor.vcek().to_vec());
        Ok(())
    }
}

/// No certificate at all.
pub struct Nothing;

impl Certificates for Nothing {
    fn complete(&self, inputs: &mut Inputs, evidence: &Evidence) -> Result<(), Unavailable> {
        inputs.report.clone_from(&evidence.report);
        Ok(())
    }
}

type Uses = BTreeMap<String, BTreeSet<SessionId>>;

/// Secrets in memory, counted as the trait says; nothing of it lasts.
#[derive(Default)]
pub struct Memory {
    pub secrets: BTreeMap<String, Vec<u8>>,
    pub uses: RefCell<Uses>,
    /// What happens between a decision and its count, once: a use by another session.
    pub between: RefCell<Vec<SessionId>>,
    pub fault: RefCell<Option<Unavailable>>,
}

impl Memory {
    pub fn with(secrets: &[(&str, &str)]) -> Self {
        let secrets = secrets.iter().map(|(n, s)| ((*n).to_owned(), s.as_bytes().to_vec()));
        Self { secrets: secrets.collect(), ..Self::default() }
    }

    pub fn count(&self, grant: &str) -> usize {
        self.uses.borrow().get(grant).map_or(0, BTreeSet::len)
    }
}

impl Secrets for Memory {
    fn uses(&self, grant: &str, session: SessionId, _: u64) -> Result<u64, Unavailable> {
        if let Some(fault) = self.fault.borrow().clone() {
            return Err(fault);
        }
        let uses = self.uses.borrow();
        let counted = uses.get(grant);
        let more = counted.is_none_or(|counted| !counted.contains(&session));
        Ok(u64::try_from(counted.map_or(0, BTreeSet::len)).unwrap() + u64::from(more))
    }

    fn take(&self, decided: &Decided<'_>) -> Result<Taken, Unavailable> {
        if let Some(other) = self.between.borrow_mut().pop() {
            self.uses.borrow_mut().entry(decided.grant.to_owned()).or_default().insert(other);
        }
        let Some(secret) = self.secrets.get(decided.resource.name()) else {
            return Ok(Taken::NotThere);
        };
        if self.uses(decided.grant, decided.session, decided.now)? != decided.uses {
            return Ok(Taken::Moved);
        }
        let mut uses = self.uses.borrow_mut();
        uses.entry(decided.grant.to_owned()).or_default().insert(decided.session);
        Ok(Taken::Secret { secret: Zeroizing::new(secret.clone()), version: 1 })
    }
}

/// A policy that admits the usual machine's guest, with these grants.
pub fn policy(grants: &str) -> Policy {
    let text = policy_text("", grants);
    Policy::load(&text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Every rule of `attestation` open but those that are asked about here, and `section` beside them.
pub fn policy_text(section: &str, grants: &str) -> String {
    let open = [
        "generations",
        "reported_tcb",
        "launch_tcb",
        "chip_allow",
        "measurement",
        "host_data",
        "id_key",
        "author_key",
        "family_id",
        "image_id",
        "platform_info",
        "guest_policy",
        "csp_id",
    ];
    let open: String = open
        .iter()
        .filter(|name| !section.contains(&format!("{name} =")))
        .map(|name| format!("{name} = \"any\"\n"))
        .collect();
    format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n{open}guest_svn = 0\n\
         model_root = \"any\"\ncrl_checked = \"any\"\ncrl_age_hours = \"any\"\n\
         context = [\"casemate-kbs-v1\"]\n{section}\n{grants}"
    )
}

/// A grant of `resource` to the usual machine's guest.
pub fn grant(resource: &str, more: &str) -> String {
    let measurement = hex::encode(&Machine::usual().guest.state().measurement);
    let launched = casemate_initdata::host_data(INITDATA.as_bytes());
    let mut rules: Vec<(&str, String)> = vec![
        ("measurement", format!("[\"{measurement}\"]")),
        ("host_data", format!("[\"{}\"]", hex::encode(&launched))),
        ("context", "[\"casemate-kbs-v1\"]".into()),
        ("uses", "2".into()),
        ("window", "{ from = \"2026-01-01T00:00:00Z\", until = \"2026-12-31T23:59:59Z\" }".into()),
    ];
    rules.retain(|(name, _)| !more.contains(&format!("{name} =")));
    let rules: String = rules.iter().map(|(name, rule)| format!("{name} = {rule}\n")).collect();
    format!("[secrets.\"{resource}\"]\n{rules}{more}\n")
}

/// The broker's key in every test that does not say otherwise.
pub const BROKER_KEY: [u8; 32] = [7; 32];

pub fn config(policy: Policy) -> Config {
    let bundle = certificates_in(root().bundle_pem().as_bytes()).unwrap();
    let model_roots = bundle.iter().map(|one| one.der().to_vec()).collect();
    let terms = Inputs { model_roots, ..Inputs::default() };
    assert_eq!(time::parse("2026-06-01"), Some(NOW));
    let (key, lifetimes) = (BrokerKey::new(&BROKER_KEY), Lifetimes::default());
    Config { key, policy, terms, lifetimes }
}

pub fn broker(policy: Policy) -> Broker {
    Broker::new(config(policy))
}

/// A guest that speaks to a broker as the real client does.
pub struct Client<'a> {
    pub broker: &'a Broker,
    pub machine: &'a Machine,
    pub secrets: &'a Memory,
    pub key: SessionKey,
    pub cookie: String,
    pub now: u64,
}

impl<'a> Client<'a> {
    pub fn new(broker: &'a Broker, secrets: &'a Memory, key: u8) -> Self {
        let key = SessionKey::new(&[key; 32]).unwrap();
        let machine = Machine::usual();
        Self { broker, machine, secrets, key, cookie: String::new(), now: NOW }
    }

    pub fn call(&self, call: &Call<'_>) -> Answer {
        let (secrets, certificates) = (self.secrets, self.machine);
        let stores = Stores { certificates, secrets, entropy: &SystemRandom::new() };
        self.broker.answer(call, self.now, &stores)
    }

    /// Asks for a challenge and keeps its cookie.
    pub fn challenge(&mut self) -> Challenge {
        let body = Request { tee: Tee::Snp }.to_json();
        let call =
            Call { method: "POST", path: "/kbs/v0/auth", body: body.as_bytes(), ..Call::default() };
        let answer = self.call(&call);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.keep_cookie(&answer);
        Challenge::read(&answer.body).unwrap()
    }

    pub fn keep_cookie(&mut self, answer: &Answer) {
        let set = answer.headers.iter().find(|(name, _)| *name == "Set-Cookie");
        let (_, value) = set.unwrap();
        self.cookie = set_cookie_session(value.as_bytes()).unwrap().unwrap().to_owned();
    }

    pub fn post(&self, attestation: &Attestation) -> Answer {
        self.post_body(attestation.to_json().unwrap().as_bytes())
    }

    pub fn post_body(&self, body: &[u8]) -> Answer {
        let cookie = cookie_header(&self.cookie);
        self.call(&Call {
            method: "POST",
            path: "/kbs/v0/attest",
            cookie: Some(cookie.as_bytes()),
            body,
            ..Call::default()
        })
    }

    /// Attests and keeps the session's cookie; its token.
    pub fn attest(&mut self) -> String {
        let challenge = self.challenge();
        let answer = self.post(&self.machine.attestation(challenge.nonce, &self.key));
        assert_eq!(answer.status, 200, "{answer:?}");
        self.keep_cookie(&answer);
        TokenAnswer::read(&answer.body).unwrap().token
    }

    pub fn get(&self, resource: &str) -> Answer {
        let path = format!("/kbs/v0/resource/{resource}");
        let cookie = cookie_header(&self.cookie);
        let cookie = Some(cookie.as_bytes());
        self.call(&Call { method: "GET", path: &path, cookie, ..Call::default() })
    }

    pub fn open(&self, answer: &Answer) -> Vec<u8> {
        assert_eq!(answer.status, 200, "{answer:?}");
        Sealed::read(&answer.body).unwrap().open(&self.key).unwrap().to_vec()
    }
}

/// What a refusal says.
pub fn detail(answer: &Answer) -> String {
    casemate_kbs::ErrorInformation::read(&answer.body).unwrap().detail
}
