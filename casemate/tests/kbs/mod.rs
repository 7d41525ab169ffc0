//! A guest of a MODEL processor that speaks the key broker protocol over whatever carries it, and
//! the folder of a broker whose policy admits it. MODEL: nothing is proven about hardware.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, reason = "each test uses a part")]

pub mod https;

use casemate_attestation::hex;
use casemate_attestation::model::{Config as Chip, Finish, Guest as Started, ModelRoot, Processor};
use casemate_attestation::report::Generation;
use casemate_kbs::{
    Attestation, Challenge, ErrorInformation, InitData, Request, RuntimeData, Sealed, SessionKey,
    Tee, cookie_header, set_cookie_session, snp_evidence,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

pub const INITDATA: &str = "version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"a\" = \"b\"\n";

fn root() -> &'static ModelRoot {
    static ROOT: OnceLock<ModelRoot> = OnceLock::new();
    let stored = include_bytes!("../../../attestation/tests/data/model_root.json");
    ROOT.get_or_init(|| ModelRoot::from_bytes(stored).unwrap())
}

/// A machine with one guest.
pub struct Machine {
    processor: Processor,
    guest: Started,
}

impl Machine {
    pub fn usual() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let chip = Chip::new(Generation::Turin).unwrap();
            let processor = Processor::new(root(), chip).unwrap();
            let mut guest = Started::start(&processor, 0x30000).unwrap();
            let host_data = casemate_initdata::host_data(INITDATA.as_bytes());
            guest.finish(&Finish { host_data, ..Finish::default() }).unwrap();
            Self { processor, guest }
        })
    }

    fn attestation(&self, nonce: casemate_kbs::Nonce, key: &SessionKey) -> Attestation {
        let runtime = RuntimeData { nonce, tee_pubkey: key.public() };
        let data = runtime.report_data();
        let report = self.processor.report(self.guest.state(), data, 0, 1).unwrap();
        let init_data = Some(InitData { format: "toml".into(), body: INITDATA.into() });
        Attestation { init_data, runtime, evidence: snp_evidence(&report).unwrap() }
    }
}

/// What comes back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub set_cookie: Option<String>,
    pub body: Vec<u8>,
}

impl Reply {
    /// What a refusal says.
    pub fn detail(&self) -> String {
        ErrorInformation::read(&self.body).unwrap().detail
    }
}

/// What carries requests to a broker.
pub trait Carrier {
    fn call(&mut self, method: &str, path: &str, cookie: Option<&str>, body: &[u8]) -> Reply;
}

/// A guest.
pub struct Guest<C> {
    pub carrier: C,
    pub key: SessionKey,
    pub cookie: String,
}

impl<C: Carrier> Guest<C> {
    pub fn new(carrier: C, key: u32) -> Self {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&key.to_be_bytes());
        Self { carrier, key: SessionKey::new(&bytes).unwrap(), cookie: String::new() }
    }

    pub fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Reply {
        let cookie = cookie_header(&self.cookie);
        let cookie = Some(cookie.as_str()).filter(|_| !self.cookie.is_empty());
        let reply = self.carrier.call(method, path, cookie, body);
        if let Some(set) = &reply.set_cookie {
            self.cookie = set_cookie_session(set.as_bytes()).unwrap().unwrap().to_owned();
        }
        reply
    }

    pub fn challenge(&mut self) -> Reply {
        let body = Request { tee: Tee::Snp }.to_json();
        self.call("POST", "/kbs/v0/auth", body.as_bytes())
    }

    pub fn attest(&mut self) -> Reply {
        self.try_attest().unwrap()
    }

    /// The same; None when there is no challenge.
    pub fn try_attest(&mut self) -> Option<Reply> {
        let challenge = self.challenge();
        if challenge.status != 200 {
            return None;
        }
        let nonce = Challenge::read(&challenge.body).unwrap().nonce;
        let attestation = Machine::usual().attestation(nonce, &self.key).to_json().unwrap();
        Some(self.call("POST", "/kbs/v0/attest", attestation.as_bytes()))
    }

    pub fn get(&mut self, resource: &str) -> Reply {
        self.call("GET", &format!("/kbs/v0/resource/{resource}"), b"")
    }

    pub fn open(&self, reply: &Reply) -> Vec<u8> {
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        Sealed::read(&reply.body).unwrap().open(&self.key).unwrap().to_vec()
    }
}

/// The folder of a broker, removed with it.
pub struct Place(pub PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Place {
    /// A new broker, made by the program, with these grants. The certificate of the MODEL machine
    /// lies in its store: its guest sends none.
    pub fn new(test: &str, grants: &str) -> Self {
        let name = format!("casemate-kbs-{test}-{}", std::process::id());
        let place = Self(std::env::temp_dir().join(name));
        let made = place.run(&["kbs", "init", place.0.to_str().unwrap()], b"");
        assert!(made.status.success(), "{made:?}");
        std::fs::write(place.path("certs/chip.der"), Machine::usual().processor.vcek()).unwrap();
        std::fs::write(place.path("model.pem"), root().bundle_pem()).unwrap();
        std::fs::write(place.path("policy.toml"), policy(grants)).unwrap();
        place.edit("listen = [\"127.0.0.1:8443\"]", "listen = [\"127.0.0.1:0\"]");
        place.edit("policy = ", "accept_model_root = \"model.pem\"\npolicy = ");
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Changes the configuration.
    pub fn edit(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path("kbs.toml")).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(self.path("kbs.toml"), text.replacen(from, to, 1)).unwrap();
    }

    /// Runs the program.
    pub fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut program = Command::new(env!("CARGO_BIN_EXE_casemate"));
        let mut child = program
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        use std::io::Write;
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Runs `casemate kbs` for this broker.
    pub fn kbs(&self, args: &[&str], input: &[u8]) -> Output {
        let config = self.path("kbs.toml");
        let all = [&["kbs"], args, &["--config", config.to_str().unwrap()]].concat();
        self.run(&all, input)
    }

    /// The same, which has to succeed; what it prints.
    pub fn kbs_ok(&self, args: &[&str], input: &[u8]) -> String {
        let output = self.kbs(args, input);
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {words}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }
}

/// Every rule of `attestation` open: what is refused here, grants refuse.
fn policy(grants: &str) -> String {
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
        "model_root",
        "crl_checked",
        "crl_age_hours",
    ];
    let open: String = open.iter().map(|name| format!("{name} = \"any\"\n")).collect();
    format!(
        "schema_version = 1\nmin_engine = \"0.1.0\"\n[attestation]\n{open}guest_svn = 0\n\
         context = [\"casemate-kbs-v1\"]\n{grants}"
    )
}

/// A grant of `resource` to the MODEL machine's guest, so often.
pub fn grant(resource: &str, uses: u32) -> String {
    let measurement = hex::encode(&Machine::usual().guest.state().measurement);
    grant_to(resource, uses, &measurement)
}

/// The same to a guest of this launch digest.
pub fn grant_to(resource: &str, uses: u32, measurement: &str) -> String {
    let launched = hex::encode(&casemate_initdata::host_data(INITDATA.as_bytes()));
    format!(
        "[secrets.\"{resource}\"]\nmeasurement = [\"{measurement}\"]\n\
         host_data = [\"{launched}\"]\ncontext = [\"casemate-kbs-v1\"]\nuses = {uses}\n\
         window = {{ from = \"2020-01-01T00:00:00Z\", until = \"2100-01-01T00:00:00Z\" }}\n"
    )
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
