//! A key broker's keeper as the program starts it: what it may do, what it has, and that it decides
//! over the very stream that a front would use. With a guest of a MODEL processor. Skipped, and
//! said so, not as root.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod kbs;

use casemate_keeper::owner::{Ask, OwnerError, Said};
use casemate_keeper::profile::{KEEPER, layers};
use casemate_keeper::{
    Config, Descriptors, Identity, KeyFile, MAX_WORD, Names, Plan, Word, hand_over, pin, spawn,
};
use casemate_policy_log::{LogFile, LogFiles, open_key};
use casemate_relay::{Call, Inbox, ToFront, ToKeeper, Transcript, stream};
use casemate_sandbox::{Child, Exit, Image, Layer, Observer, inspect};
use casemate_store::{Folder, Secret};
use casemate_test_support::sandbox::{assert_least, memory_has};
use kbs::{Carrier, Guest, Place, Reply, grant};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

static IMAGE: &[u8] = include_bytes!(env!("CASEMATE_BROKER_KEEPER_IMAGE"));

fn pair(kind: SocketType) -> (OwnedFd, OwnedFd) {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap()
}

/// What is open of a broker.
struct Opened {
    plan: Plan,
    store: Folder,
    log: LogFiles,
}

fn opened(place: &Place) -> Opened {
    let text = kbs::read(&place.path("kbs.toml"));
    let config = Config::load(&text, "kbs.toml", &place.0).unwrap();
    let identity = Identity::from_pem(&std::fs::read(&config.tls_certificate).unwrap()).unwrap();
    let model = std::fs::read(config.model_root.as_ref().unwrap()).unwrap();
    let model = casemate_attestation::cert::certificates_in(&model).unwrap();
    let mut roots = casemate_attestation::cert::builtin();
    roots.accept_model(model.clone()).unwrap();
    let certs = config.certificates.as_ref().unwrap();
    let store = casemate_attestation::store::Store::under(certs, roots);
    let plan = Plan {
        policy: ("policy.toml".into(), kbs::read(&config.policy)),
        certificates: store.snapshot().unwrap(),
        model_roots: model.iter().map(|one| one.der().to_vec()).collect(),
        broken_roots: Vec::new(),
        lifetimes: config.lifetimes,
        workers: 3,
        spki: identity.spki,
        names: Names {
            store: "store".into(),
            log: "log".into(),
            log_head: Some("head".into()),
            log_key: Some("log.key".into()),
            adopt: false,
            tls_key: "tls.key".into(),
            broker_key: "broker.key".into(),
            kek: "kek".into(),
        },
    };
    let head = Some(place.path("head"));
    let log = LogFile { head, ..LogFile::new(&config.decision_log) }.files().unwrap();
    Opened { plan, store: Folder::open(&config.store).unwrap(), log }
}

/// A keeper, and what leads to it.
struct Keeper {
    process: Child,
    control: OwnedFd,
    front: Front,
    signer: UnixStream,
    owner: OwnedFd,
}

/// A front that is a test.
struct Front(UnixStream, Inbox, u64);

impl Keeper {
    fn start(place: &Place, opened: Opened, before: impl FnOnce(&Child)) -> Self {
        let image = Image::new("casemate-broker-keeper", IMAGE).unwrap();
        let (control, its_control) = pair(SocketType::SEQPACKET);
        let (owner, its_owner) = pair(SocketType::SEQPACKET);
        let (calls, its_calls) = pair(SocketType::STREAM);
        let (signer, its_signer) = pair(SocketType::STREAM);
        let key = |name: &str| KeyFile::open(&place.path(name)).unwrap();
        let (tls_key, broker_key, kek) = (key("tls.key"), key("broker.key"), key("kek"));
        let log_key = open_key(&place.path("log.key")).unwrap();
        let given = Descriptors {
            control: its_control.as_fd(),
            calls: its_calls.as_fd(),
            signer: its_signer.as_fd(),
            owner: its_owner.as_fd(),
            store: &opened.store,
            log: &opened.log,
            log_key: Some(&log_key),
            tls_key: &tls_key,
            broker_key: &broker_key,
            kek: &kek,
        };
        let process = spawn(&image, layers(), &opened.plan, &given, before).unwrap();
        // Its own from here on: a file that is open here, too, would stay locked.
        drop(opened);
        let front = Front(calls.into(), Inbox::new(), 0);
        Self { process, control, front, signer: signer.into(), owner }
    }

    fn new(place: &Place) -> Self {
        let mut keeper = Self::start(place, opened(place), |_| ());
        assert!(matches!(keeper.word(), Word::Ready { .. }));
        keeper
    }

    fn word(&mut self) -> Word {
        let mut packet = [0; MAX_WORD];
        let (length, _) = recv(&self.control, &mut packet[..], RecvFlags::empty()).unwrap();
        if length == 0 {
            panic!("it ended: {:?}", self.process.wait());
        }
        Word::decode(&packet[..length]).unwrap()
    }

    fn ask(&self, ask: &Ask) -> Vec<Said> {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        hand_over(&self.owner, &theirs).unwrap();
        drop(theirs);
        let mut said = Vec::new();
        ask.send(&mut ours, &mut |one| {
            said.push(one);
            Ok::<(), OwnerError>(())
        })
        .unwrap();
        said
    }

    fn put(&self, name: &str, secret: &[u8]) {
        let secret = Secret::new(secret.to_vec());
        let said = self.ask(&Ask::Put { name: name.into(), secret });
        assert!(matches!(said[..], [Said::Kept(_)]), "{said:?}");
    }

    /// Ends it as the end of its front does.
    fn end(self) -> (Child, OwnedFd) {
        let Self { process, control, .. } = self;
        (process, control)
    }
}

impl Carrier for &mut Front {
    fn call(&mut self, method: &str, path: &str, cookie: Option<&str>, body: &[u8]) -> Reply {
        let Front(stream, inbox, id) = self;
        *id += 1;
        let cookie = cookie.map(str::as_bytes);
        let call = Call { peer: None, method, path, cookie, authorization: None, body };
        stream::send(&ToKeeper::Call { id: *id, call }, stream).unwrap();
        assert!(stream::wait::<ToFront<'_>>(inbox, stream).unwrap());
        let Some(ToFront::Answer { id: of, answer }) = inbox.next().unwrap() else { panic!() };
        assert_eq!(of, *id);
        let mut headers = answer.headers.iter().filter(|(name, _)| *name == "Set-Cookie");
        let set_cookie = headers.next().map(|(_, value)| (*value).to_owned());
        Reply { status: answer.status, set_cookie, body: answer.body.to_vec() }
    }
}

fn grants() -> String {
    [grant("acme/db/*", 2), grant("acme/web/key", 100)].concat()
}

/// Protects the keys from who takes over the keeper, by a request or by a file: it makes the calls
/// that it has reasons for, and no other.
fn image_of_the_keeper_uses_every_rule_of_its_profile_and_makes_no_other_call() {
    let place = Place::new("least", &grants());
    place.kbs_ok(&["put", "acme/web/key"], b"swordfish");
    // A log with a torn end.
    drop(Keeper::new(&place).end().0.wait());
    let mut log =
        std::fs::File::options().append(true).open(place.path("decisions.jsonl")).unwrap();
    std::io::Write::write_all(&mut log, b"{\"seq\":").unwrap();
    let mut observer = None;
    let attach = |child: &Child| observer = Some(Observer::attach(child).unwrap());
    let mut keeper = Keeper::start(&place, opened(&place), attach);
    let user = std::thread::spawn(move || {
        assert_eq!(keeper.word(), Word::Ready { untold: 0, dropped: 0, torn: 7 });
        keeper.put("acme/db/key", b"hunter2");
        // Makes the file of the store shorter.
        keeper.ask(&Ask::Revoke { name: "acme/db/key".into(), version: 1 });
        let mut guest = Guest::new(&mut keeper.front, 1);
        assert_eq!(guest.attest().status, 200);
        let reply = guest.get("acme/web/key");
        assert_eq!(guest.open(&reply), b"swordfish");
        let transcript = Transcript::of_hash(&[7; 32]).unwrap();
        let ask = ToKeeper::Sign { id: 9, transcript };
        stream::send(&ask, &mut keeper.signer).unwrap();
        let mut inbox = Inbox::new();
        assert!(stream::wait::<ToFront<'_>>(&mut inbox, &mut keeper.signer).unwrap());
        let signed = inbox.next().unwrap();
        assert!(matches!(signed, Some(ToFront::Signature { id: 9, signature: Some(_) })));
        keeper.end()
    });
    let observed = observer.unwrap().finish().unwrap();
    let (mut process, _control) = user.join().unwrap();
    assert_least(&observed, &KEEPER);
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
    place.kbs_ok(&["log", "--verify"], b"");
}

/// Protects the host from a keeper: what is in force is what was asked for, and it has its files
/// and sockets, and none of the files that its keys came in.
fn keeper_is_locked_as_the_kernel_tells_and_has_its_files_only() {
    let place = Place::new("locked", &grants());
    let mut keeper = Keeper::new(&place);
    let report = keeper.process.confined().unwrap().clone();
    for layer in Layer::ALL {
        let asked = layer == Layer::NetworkNamespace || !layer.only_where_asked();
        assert_eq!(report.is_applied(layer), asked, "{layer}\n{report}");
    }
    let told = inspect(keeper.process.pid()).unwrap();
    assert_eq!((told.seccomp_mode, told.seccomp_filters, told.uid), (2, 1, 65534), "{told}");
    assert!(told.threads_agree && told.no_new_privs, "{told}");
    assert!(told.capabilities.values().all(|set| *set == 0), "{told}");
    assert_eq!(told.root.as_deref(), Some(&[][..]), "{told}");
    let open = told.descriptors.as_ref().unwrap().values().filter(|what| !what.contains("null"));
    let mut open: Vec<&str> = open.map(|what| what.rsplit('/').next().unwrap()).collect();
    open.retain(|what| !what.starts_with("socket:"));
    open.sort_unstable();
    assert_eq!(open, ["a", "b", "decisions.jsonl", "decisions.jsonl.lock", "head", "lock"]);
    assert_eq!(keeper.end().0.wait().unwrap(), Exit::Code(0));
}

/// Protects what guests prove: over the stream of a front decisions are made as the library makes
/// them, counted by the store on the disk, and are in the log. Cannot tell of HTTP and TLS.
fn a_guest_proves_itself_and_gets_what_it_is_granted_so_often() {
    let place = Place::new("proves", &grants());
    let mut keeper = Keeper::new(&place);
    keeper.put("acme/db/key", b"hunter2");
    keeper.put("acme/db/key", b"hunter3");
    let mut guest = Guest::new(&mut keeper.front, 1);
    assert_eq!(guest.get("acme/db/key").status, 401);
    let attested = guest.attest();
    assert_eq!(attested.status, 200, "{}", String::from_utf8_lossy(&attested.body));
    for _ in 0..3 {
        let reply = guest.get("acme/db/key");
        assert_eq!(guest.open(&reply), b"hunter3");
    }
    let denied = guest.get("acme/other/key");
    assert_eq!(denied.status, 403, "{}", denied.detail());
    assert_eq!(guest.get("acme/web/key").status, 404);
    assert_eq!(guest.get("no/path").status, 404);
    for (key, status) in [(2, 200), (3, 403)] {
        let mut guest = Guest::new(&mut keeper.front, key);
        assert_eq!(guest.attest().status, 200);
        let reply = guest.get("acme/db/key");
        assert_eq!(reply.status, status, "{key}");
        if status == 403 {
            assert!(reply.detail().contains("uses"), "{}", reply.detail());
        }
    }
    assert_eq!(keeper.end().0.wait().unwrap(), Exit::Code(0));
    let log = place.kbs_ok(&["log", "--point", "secrets"], b"");
    // Five times given, no grant, not there, used up.
    let count = |verdict: &str| log.matches(&format!("secrets {verdict} ")).count();
    assert_eq!((count("allow"), count("deny")), (5, 2), "{log}");
    place.kbs_ok(&["log", "--verify"], b"");
}

/// Protects the log from being passed by: a log that somebody else has written to cannot be vouched
/// for, so what is decided is not done, and the operator hears of it. What needs no decision goes
/// on.
fn what_cannot_be_logged_is_not_given() {
    let place = Place::new("unlogged", &grants());
    let mut keeper = Keeper::new(&place);
    keeper.put("acme/db/key", b"hunter2");
    let mut guest = Guest::new(&mut keeper.front, 1);
    assert_eq!(guest.attest().status, 200);
    let path = place.path("decisions.jsonl");
    let mut log = std::fs::File::options().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut log, b"{}\n").unwrap();
    let reply = guest.get("acme/db/key");
    assert_eq!((reply.status, reply.detail().contains("its own log")), (500, true));
    assert_eq!(guest.challenge().status, 200);
    assert_eq!(guest.attest().status, 500);
    let Word::Trouble(why) = keeper.word() else { panic!() };
    assert!(why.contains("decisions.jsonl") || why.contains("log"), "{why}");
    let mut packet = [0; MAX_WORD];
    while recv(&keeper.control, &mut packet[..], RecvFlags::DONTWAIT).is_ok() {}
    // It cannot close what is not its own any more, and says so.
    drop(keeper.front);
    let (length, _) = recv(&keeper.control, &mut packet[..], RecvFlags::empty()).unwrap();
    assert!(matches!(Word::decode(&packet[..length]), Some(Word::Failed { .. })));
    assert_eq!(keeper.process.wait().unwrap(), Exit::Code(1));
    assert!(!kbs::read(&path).contains("\"point\":\"secrets\""));
}

/// Protects what a front that was taken over could do: it can ask what the network could have
/// asked, and what makes no sense ends the broker. Cannot tell what it does to its own clients.
fn a_front_that_talks_nonsense_ends_the_keeper_with_a_word() {
    let place = Place::new("nonsense", &grants());
    for bytes in [&[255, 255, 255, 255, 0][..], &[9, 0, 0, 0, 77, 0, 0, 0, 0, 0, 0, 0, 0]] {
        let mut keeper = Keeper::new(&place);
        std::io::Write::write_all(&mut keeper.front.0, bytes).unwrap();
        let Word::Failed { bad_input: false, why } = keeper.word() else { panic!() };
        assert!(why.contains("nonsense"), "{why}");
        assert_eq!(keeper.process.wait().unwrap(), Exit::Code(1));
    }
}

/// Protects the user from a broker that starts with what does not belong together: each is one
/// clear line, and nothing of it is in the log.
fn what_a_keeper_cannot_begin_with_is_told_in_a_line() {
    let place = Place::new("faults", &grants());
    let fault = |change: &dyn Fn(&mut Opened)| {
        let mut opened = opened(&place);
        change(&mut opened);
        let mut keeper = Keeper::start(&place, opened, |_| ());
        let Word::Failed { bad_input: true, why } = keeper.word() else { panic!() };
        assert_eq!(keeper.process.wait().unwrap(), Exit::Code(1));
        why
    };
    let why = fault(&|opened| opened.plan.spki[40] ^= 1);
    assert!(why.contains("not that of the certificate"), "{why}");
    let why = fault(&|opened| opened.plan.policy.1.push_str("x = 1\n"));
    assert!(why.contains("policy.toml"), "{why}");
    let kek = kbs::read(&place.path("kek"));
    std::fs::write(place.path("kek"), "0".repeat(64)).unwrap();
    let why = fault(&|_| ());
    assert!(why.contains("this key does not open the store"), "{why}");
    std::fs::write(place.path("kek"), "nothing").unwrap();
    let why = fault(&|_| ());
    assert!(why.contains("64 hexadecimal digits"), "{why}");
    std::fs::write(place.path("kek"), kek).unwrap();
    assert_eq!(Keeper::new(&place).end().0.wait().unwrap(), Exit::Code(0));
}

/// Protects secrets and keys from who has the supervisor: none is in it. Of a front the test of
/// fronts tells.
fn no_process_but_the_keeper_has_a_key_or_a_secret() {
    let place = Place::new("keys", &grants());
    let kek = kbs::read(&place.path("kek"));
    let bytes: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&kek[at..at + 2], 16).unwrap()).collect();
    let keeper = Keeper::new(&place);
    assert!(memory_has(keeper.process.pid(), &bytes));
    let identity = Identity::from_pem(&std::fs::read(place.path("tls.pem")).unwrap()).unwrap();
    assert_eq!(identity.pin(), pin(&identity.spki));
    assert_eq!(keeper.end().0.wait().unwrap(), Exit::Code(0));
}

fn main() -> ExitCode {
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { [$((stringify!($name), $name as fn())),*] };
    }
    casemate_test_support::sandbox::main(&tests![
        image_of_the_keeper_uses_every_rule_of_its_profile_and_makes_no_other_call,
        keeper_is_locked_as_the_kernel_tells_and_has_its_files_only,
        a_guest_proves_itself_and_gets_what_it_is_granted_so_often,
        what_cannot_be_logged_is_not_given,
        a_front_that_talks_nonsense_ends_the_keeper_with_a_word,
        what_a_keeper_cannot_begin_with_is_told_in_a_line,
        no_process_but_the_keeper_has_a_key_or_a_secret,
    ])
}
