//! A hostile host: whoever has the connection to the agent in a guest and says what it likes. The
//! agent is the one of real guests, in a MODEL of a guest.
//!
//! Protects: whatever is said, in whatever order, the answer is a refusal with its code, or the end
//! of the connection; nothing runs that the manifest does not list, and the guest ends with its
//! host. Cannot tell: anything of a VM, or of a report that hardware makes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

use casemate_agent::{Code, Numbered, Process, Stdio, ToGuest, ToHost, VERSION, Wish, stream};
use casemate_guest_agent::compare::capabilities;
use casemate_initdata::{document, host_data};
use casemate_pod::{Container, Manifest, Source, Volume};
use casemate_process_guest::pod::{container, manifest};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio as Streams};
use std::time::Duration;

struct Host {
    guest: Child,
    address: SocketAddr,
    control: UnixStream,
    initdata: String,
    one: Container,
    next: u32,
}

impl Host {
    /// A guest that was launched with a pod of one container, which ends at once.
    fn launch(test: &str) -> Self {
        let mut one = container("web", "cat /etc/which; sleep 1000");
        one.stdio = "out".parse().unwrap();
        one.exec = vec![vec!["/bin/true".into()]];
        one.root = "read-only".parse().unwrap();
        Self::launch_with(test, &manifest(vec![one.clone()]), one)
    }

    /// A guest that was launched with a manifest, whatever is in it.
    fn launch_with(test: &str, manifest: &Manifest, one: Container) -> Self {
        let text = manifest.text().unwrap();
        let initdata = document([("pod.toml", text.as_str())]).unwrap();
        let hash = host_data(initdata.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("casemate-hostile/{}/{test}", std::process::id());
        let address = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let guest = Command::new("unshare")
            .args(["--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
            .args([env!("CARGO_BIN_EXE_casemate-process-guest"), hex.as_str()])
            .stdin(OwnedFd::from(listener))
            .stdout(Streams::null())
            .spawn()
            .unwrap();
        let control = UnixStream::connect_addr(&address).unwrap();
        control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { guest, address, control, initdata, one, next: 0 }
    }

    fn ask(&mut self, message: ToGuest) -> ToHost {
        self.next += 1;
        let number = self.next;
        stream::send(&mut self.control, &Numbered { number, message }).unwrap();
        loop {
            let answer = stream::receive::<ToHost>(&mut self.control).unwrap().unwrap();
            // What it says by itself has no number.
            if answer.number == number {
                return answer.message;
            }
            assert_eq!(answer.number, 0, "{answer:?}");
        }
    }

    fn refused(&mut self, message: ToGuest) -> Code {
        match self.ask(message) {
            ToHost::Refused { refusal } => refusal.code,
            other => panic!("{other:?}"),
        }
    }

    fn hello(&mut self) {
        let answer = self.ask(ToGuest::Hello { version: VERSION });
        assert_eq!(answer, ToHost::Hello { version: VERSION, model: true });
    }

    fn bind(&mut self) {
        let part = self.initdata.clone().into_bytes();
        let answer = self.ask(ToGuest::Initdata { last: true, part });
        assert!(matches!(answer, ToHost::Ready { .. }), "{answer:?}");
    }

    fn wish(&self) -> Wish {
        let one = &self.one;
        Wish {
            args: one.args.clone(),
            env: one.env.clone(),
            cwd: one.cwd.clone(),
            capabilities: capabilities(one),
            readonly: true,
            ..Wish::default()
        }
    }

    fn create(&self, container: &str) -> ToGuest {
        ToGuest::Create { container: container.into(), wish: self.wish(), stdio: Stdio::default() }
    }

    /// Every message, with nothing wrong in it but its time.
    fn all(&self) -> Vec<ToGuest> {
        let process = Process { container: "web".into(), exec: 0 };
        let mut exec = self.wish();
        exec.args = self.one.exec[0].clone();
        vec![
            self.create("web"),
            ToGuest::Start { container: "web".into() },
            ToGuest::Exec {
                process: Process { exec: 1, ..process.clone() },
                wish: exec,
                stdio: Stdio::default(),
            },
            ToGuest::Signal { process: process.clone(), signal: 9 },
            ToGuest::Resize { process, columns: 80, rows: 24 },
            ToGuest::Stats { container: "web".into() },
            ToGuest::Remove { container: "web".into() },
            ToGuest::File {
                volume: "config".into(),
                name: "limits".into(),
                last: true,
                part: b"rows 1000\n".to_vec(),
            },
        ]
    }

    /// The guest has ended, for itself.
    fn gone(mut self) {
        self.control.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut rest = Vec::new();
        let _ = self.control.read_to_end(&mut rest);
        let _ = self.guest.wait().unwrap();
    }

    /// Gives a root: a folder of this machine, as nobody would outside of a MODEL.
    fn image(&self, folder: &str) {
        let text = format!("{{\"container\":\"web\",\"folder\":\"{folder}\"}}");
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        let mut stream = UnixStream::connect_addr(&self.address).unwrap();
        let head = [&u32::MAX.to_le_bytes()[..], &length, text.as_bytes()].concat();
        stream.write_all(&head).unwrap();
        stream.read_exact(&mut [0]).unwrap();
    }
}

#[test]
fn nothing_can_be_asked_before_hello_and_nothing_run_before_the_pod_is_bound() {
    let mut host = Host::launch("early");
    let part = host.initdata.clone().into_bytes();
    for message in [host.all(), vec![ToGuest::Initdata { last: true, part }]].concat() {
        assert_eq!(host.refused(message.clone()), Code::State, "{message:?}");
    }
    assert_eq!(host.refused(ToGuest::Hello { version: VERSION + 1 }), Code::Version);
    host.hello();
    for message in host.all() {
        assert_eq!(host.refused(message.clone()), Code::State, "{message:?}");
    }
    // It is bound all the same when the right text comes, and once.
    host.bind();
    let part = host.initdata.clone().into_bytes();
    assert_eq!(host.refused(ToGuest::Initdata { last: true, part }), Code::State);
    host.ask(ToGuest::Shutdown {});
    host.gone();
}

#[test]
fn another_manifest_than_the_launched_one_binds_nothing() {
    let mut host = Host::launch("other");
    host.hello();
    let other = host.initdata.replace("sleep 1000", "sleep 1001").into_bytes();
    for part in [other, Vec::new(), vec![0xff; 100], host.initdata.as_bytes()[1..].to_vec()] {
        assert_eq!(host.refused(ToGuest::Initdata { last: true, part }), Code::Initdata);
    }
    for message in host.all() {
        assert_eq!(host.refused(message), Code::State);
    }
    host.ask(ToGuest::Shutdown {});
    host.gone();
}

#[test]
fn what_is_not_there_or_not_listed_is_refused_and_what_is_listed_runs_once() {
    let mut host = Host::launch("listed");
    host.hello();
    host.bind();
    assert_eq!(host.refused(host.create("miner")), Code::Unlisted);
    assert_eq!(host.refused(ToGuest::Start { container: "web".into() }), Code::NotFound);
    // No image: it is not made, and can be when there is one.
    assert_eq!(host.refused(host.create("web")), Code::Failed);
    host.image("/");
    // A host that lies about streams: none came, and a number that is nobody's.
    let lied = Stdio { stdin: 0, stdout: 77, stderr: 0 };
    let wish = host.wish();
    let create = ToGuest::Create { container: "web".into(), wish, stdio: lied };
    assert_eq!(host.refused(create), Code::Failed);
    assert_eq!(host.ask(host.create("web")), ToHost::Done {});
    assert_eq!(host.refused(host.create("web")), Code::Again);
    assert!(matches!(host.ask(ToGuest::Start { container: "web".into() }), ToHost::Started { .. }));
    assert_eq!(host.refused(ToGuest::Start { container: "web".into() }), Code::Again);
    assert_eq!(host.refused(host.create("web")), Code::Again);
    let mut shell = host.wish();
    shell.args = vec!["/bin/sh".into()];
    let process = Process { container: "web".into(), exec: 1 };
    let exec = ToGuest::Exec { process: process.clone(), wish: shell, stdio: Stdio::default() };
    assert_eq!(host.refused(exec), Code::Unlisted);
    let signal = |process, signal| ToGuest::Signal { process, signal };
    assert_eq!(host.refused(signal(process, 9)), Code::NotFound);
    let own = Process { container: "web".into(), exec: 0 };
    assert_eq!(host.refused(signal(own.clone(), 10)), Code::Unlisted);
    assert_eq!(host.ask(signal(own, 9)), ToHost::Done {});
    host.ask(ToGuest::Shutdown {});
    host.gone();
}

#[test]
fn what_is_no_message_ends_the_guest_and_not_before_a_word() {
    let hello = Numbered { number: 1, message: ToGuest::Hello { version: VERSION } };
    let hello = hello.encode().unwrap();
    let cases: [(&str, Vec<u8>); 6] = [
        ("unknown", vec![5, 0, 0, 0, 1, 0, 0, 0, 99]),
        ("long", vec![0xff; 64]),
        ("empty", vec![0; 8]),
        ("text", vec![11, 0, 0, 0, 1, 0, 0, 0, 4, 2, 0, 0, 0, 0xff, 0xff]),
        ("behind", [&[8, 0, 0, 0], &hello[4..], &[0]].concat()),
        ("count", vec![9, 0, 0, 0, 1, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0x7f]),
    ];
    for (name, bytes) in cases {
        let mut host = Host::launch(name);
        host.control.write_all(&bytes).unwrap();
        let word = stream::receive::<ToHost>(&mut host.control).unwrap().unwrap();
        let ToHost::Refused { refusal } = word.message else { panic!("{name}: {word:?}") };
        assert_eq!((word.number, refusal.code), (0, Code::Malformed), "{name}");
        host.gone();
    }
}

#[test]
fn a_guest_whose_host_leaves_ends_with_all_that_runs_in_it() {
    // In the middle of a message, and between two, while a container runs.
    let mut host = Host::launch("cut");
    host.control.write_all(&[9, 0, 0]).unwrap();
    host.control.shutdown(std::net::Shutdown::Both).unwrap();
    host.gone();
    let mut host = Host::launch("leaves");
    host.hello();
    host.bind();
    host.image("/");
    host.ask(host.create("web"));
    host.ask(ToGuest::Start { container: "web".into() });
    host.control.shutdown(std::net::Shutdown::Both).unwrap();
    host.gone();
}

/// What a pod's tenant was told is bound, and this guest does not have: it is named, and nothing
/// of the pod runs.
#[test]
fn what_a_guest_does_not_have_binds_nothing() {
    let one = container("web", "exit 0");
    let mut with = manifest(vec![one.clone()]);
    let source = Source::Secrets { names: vec!["db.key".into()] };
    let mounts = vec!["web:/run/keys:ro".parse().unwrap()];
    with.volumes = vec![Volume { name: "keys".into(), source, mounts }];
    let mut without = manifest(vec![one.clone()]);
    without.pod.net = false;
    for (test, manifest) in [("secrets", with), ("net", without)] {
        let mut host = Host::launch_with(test, &manifest, one.clone());
        host.hello();
        let part = host.initdata.clone().into_bytes();
        assert_eq!(host.refused(ToGuest::Initdata { last: true, part }), Code::Manifest, "{test}");
        assert_eq!(host.refused(host.create("web")), Code::State, "{test}");
        host.ask(ToGuest::Shutdown {});
        host.gone();
    }
}

/// A container that was made and never started can be made again, its streams have an end, and what
/// runs is not taken back.
#[test]
fn what_was_made_and_not_started_is_taken_back_and_made_anew() {
    let mut host = Host::launch("remove");
    host.hello();
    host.bind();
    host.image("/");
    let remove = || ToGuest::Remove { container: "web".into() };
    assert_eq!(host.refused(remove()), Code::State, "nothing was ever made");
    let mut stream = UnixStream::connect_addr(&host.address).unwrap();
    stream.write_all(&5_u32.to_le_bytes()).unwrap();
    let stdio = Stdio { stdin: 0, stdout: 5, stderr: 0 };
    let wish = host.wish();
    let create = ToGuest::Create { container: "web".into(), wish, stdio };
    assert_eq!(host.ask(create), ToHost::Done {});
    assert_eq!(host.refused(host.create("web")), Code::Again);
    assert_eq!(host.ask(remove()), ToHost::Done {});
    assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "its stream has ended");
    assert_eq!(host.refused(ToGuest::Start { container: "web".into() }), Code::NotFound);
    assert_eq!(host.ask(host.create("web")), ToHost::Done {});
    assert!(matches!(host.ask(ToGuest::Start { container: "web".into() }), ToHost::Started { .. }));
    assert_eq!(host.refused(remove()), Code::NotFound);
    assert_eq!(host.refused(host.create("web")), Code::Again);
    host.ask(ToGuest::Shutdown {});
    host.gone();
}

/// Nobody but the tenant says what is in a file that the manifest proves: another one, one that is
/// nobody's and one that is missing are refused, and then the container does not come.
#[test]
fn files_that_a_host_plants_are_refused_and_so_is_a_container_without_its_own() {
    let one = container("web", "exec cat /etc/table/limits");
    let mut pod = manifest(vec![one.clone()]);
    let hash = casemate_pod::Hash(host_data(b"rows 1000\n"));
    let hashes = [("limits".to_owned(), hash)].into();
    let source = Source::HostFiles(casemate_pod::Files { hashes, executable: false });
    let mounts = vec!["web:/etc/table:ro".parse().unwrap()];
    pod.volumes = vec![Volume { name: "config".into(), source, mounts }];
    let mut host = Host::launch_with("files", &pod, one);
    host.hello();
    host.bind();
    host.image("/");
    let file = |volume: &str, name: &str, last, part: &[u8]| ToGuest::File {
        volume: volume.into(),
        name: name.into(),
        last,
        part: part.to_vec(),
    };
    for (volume, name) in
        [("config", "other"), ("other", "limits"), ("config", "../limits"), ("config", "")]
    {
        let planted = file(volume, name, true, b"rows 1000\n");
        assert_eq!(host.refused(planted), Code::Unlisted, "{volume} {name}");
    }
    assert_eq!(host.refused(file("config", "limits", true, b"rows 1001\n")), Code::Differs);
    let wish = Wish { readonly: false, ..host.wish() };
    let create = |wish, stdio| ToGuest::Create { container: "web".into(), wish, stdio };
    assert_eq!(host.refused(create(wish.clone(), Stdio::default())), Code::Differs);
    // In parts, and a part of what was refused before is none of it.
    assert_eq!(host.ask(file("config", "limits", false, b"rows ")), ToHost::Done {});
    assert_eq!(host.ask(file("config", "limits", true, b"1000\n")), ToHost::Done {});
    let mut stream = UnixStream::connect_addr(&host.address).unwrap();
    stream.write_all(&6_u32.to_le_bytes()).unwrap();
    let stdio = Stdio { stdin: 0, stdout: 6, stderr: 0 };
    assert_eq!(host.ask(create(wish, stdio)), ToHost::Done {});
    host.ask(ToGuest::Start { container: "web".into() });
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "rows 1000\n");
    host.ask(ToGuest::Shutdown {});
    host.gone();
}
