//! What an agent decides, against a hostile host.
//!
//! Protects: nothing runs that the manifest does not list, in no other order, not twice, with no
//! other argument, variable, user or right; each refusal has its code and names what it is about.
//! Cannot tell: whether what was decided is what then runs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

use casemate_agent::{Code, Refusal, Wish};
use casemate_guest_agent::compare::capabilities;
use casemate_guest_agent::state::{Booted, Running};
use casemate_initdata::{document, host_data};
use casemate_pod::Container;
use casemate_pod::Manifest;
use proptest::prelude::*;

fn manifest() -> Manifest {
    let container = |name: &str, kind: &str| Container {
        name: name.into(),
        kind: kind.parse().unwrap(),
        layers: vec![0],
        args: vec![format!("/bin/{name}"), "-v".into()],
        cwd: "/".into(),
        user: casemate_pod::User { uid: 1000, gid: 1000, groups: vec![44] },
        caps: vec!["CHOWN".parse().unwrap()],
        new_privileges: false,
        root: "read-only".parse().unwrap(),
        tmpfs: Vec::new(),
        env: vec!["A=b".into(), "PATH=/bin".into()],
        env_open: vec!["POD_IP:ip".parse().unwrap()],
        stdio: "out".parse().unwrap(),
        exec: vec![vec!["/bin/probe".into()]],
        signals: vec![casemate_pod::Signal::KILL, casemate_pod::Signal::TERM],
        restart: name == "again",
    };
    let layer = format!("sha256:{}=verity:{}:7", "1".repeat(64), "2".repeat(64)).parse().unwrap();
    Manifest {
        layers: vec![layer],
        pod: casemate_pod::Pod {
            hostname: None,
            dns: casemate_pod::Dns::Open,
            hosts: Vec::new(),
            net: true,
            services: false,
            vcpus: vec![1],
            secrets_after: Vec::new(),
        },
        containers: vec![
            container("first", "init"),
            container("side", "sidecar"),
            container("web", "main"),
            container("again", "main"),
        ],
        volumes: Vec::new(),
    }
}

fn initdata() -> String {
    let text = manifest().text().unwrap();
    document([("pod.toml", text.as_str())]).unwrap()
}

fn running() -> Running {
    let text = initdata();
    let mut booted = Booted::default();
    for part in text.as_bytes().chunks(100) {
        booted.part(part).unwrap();
    }
    booted.bind(&host_data(text.as_bytes())).unwrap().run()
}

/// What an honest host wishes for a container.
fn wish(name: &str) -> Wish {
    let manifest = manifest();
    let container = manifest.container(name).unwrap();
    Wish {
        args: container.args.clone(),
        env: vec!["A=b".into(), "PATH=/bin".into(), "POD_IP=10.0.0.7".into()],
        cwd: container.cwd.clone(),
        uid: 1000,
        gid: 1000,
        groups: vec![44],
        capabilities: capabilities(container),
        readonly: true,
        terminal: false,
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: Code, names: &str) {
    let refusal = result.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.sentence.contains(names), "{refusal}");
}

/// Runs a container as far as an honest host would.
fn up(running: &mut Running, name: &str) {
    running.create(name, &wish(name)).unwrap();
    running.start(name).unwrap();
    if name == "first" {
        running.ended(name, 0);
    }
}

#[test]
fn only_initdata_that_the_guest_was_launched_with_binds_it() {
    let text = initdata();
    let launched = host_data(text.as_bytes());
    let bind = |text: &str| {
        let mut booted = Booted::default();
        booted.part(text.as_bytes()).unwrap();
        booted.bind(&launched).map(drop)
    };
    bind(&text).unwrap();
    refused(bind(&text.replace("-v", "-w")), Code::Initdata, "HOST_DATA");
    refused(bind(&format!("{text}\n")), Code::Initdata, "HOST_DATA");
    refused(bind(""), Code::Initdata, "HOST_DATA");
    // Not in two halves either: what was refused is forgotten.
    let mut booted = Booted::default();
    let (one, other) = text.split_at(50);
    booted.part(one.as_bytes()).unwrap();
    refused(booted.bind(&launched).map(drop), Code::Initdata, "HOST_DATA");
    booted.part(other.as_bytes()).unwrap();
    refused(booted.bind(&launched).map(drop), Code::Initdata, "HOST_DATA");
}

#[test]
fn initdata_without_a_manifest_or_with_one_that_is_none_binds_nothing() {
    let bind = |members: &[(&str, &str)]| {
        let text = document(members.iter().copied()).unwrap();
        let mut booted = Booted::default();
        booted.part(text.as_bytes()).unwrap();
        booted.bind(&host_data(text.as_bytes())).map(drop)
    };
    refused(bind(&[("casemate.toml", "")]), Code::Initdata, "pod.toml");
    refused(bind(&[("pod.toml", "version = 2\n")]), Code::Manifest, "");
    let spelled = format!("# a comment\n{}", manifest().text().unwrap());
    refused(bind(&[("pod.toml", &spelled)]), Code::Manifest, "");
}

#[test]
fn initdata_longer_than_it_can_be_is_not_kept() {
    let mut booted = Booted::default();
    let part = vec![b'x'; 32 * 1024];
    booted.part(&part).unwrap();
    booted.part(&part).unwrap();
    refused(booted.part(b"x"), Code::Initdata, "65536");
}

#[test]
fn containers_come_in_the_manifest_s_order() {
    let mut pod = running();
    refused(pod.create("web", &wish("web")).map(drop), Code::Order, "first");
    refused(pod.create("side", &wish("side")).map(drop), Code::Order, "first");
    pod.create("first", &wish("first")).unwrap();
    refused(pod.create("side", &wish("side")).map(drop), Code::Order, "first");
    pod.start("first").unwrap();
    refused(pod.create("side", &wish("side")).map(drop), Code::Order, "status 0");
    pod.ended("first", 0);
    refused(pod.create("web", &wish("web")).map(drop), Code::Order, "side");
    for name in ["side", "web", "again"] {
        up(&mut pod, name);
    }
}

#[test]
fn an_init_container_that_failed_lets_nothing_come() {
    let mut pod = running();
    pod.create("first", &wish("first")).unwrap();
    pod.start("first").unwrap();
    pod.ended("first", 1);
    refused(pod.create("side", &wish("side")).map(drop), Code::Order, "status 0");
    refused(pod.create("first", &wish("first")).map(drop), Code::Again, "once");
}

#[test]
fn nothing_is_started_twice_but_what_the_manifest_has_restarted() {
    let mut pod = running();
    ["first", "side", "web", "again"].iter().for_each(|name| up(&mut pod, name));
    for name in ["first", "side", "web", "again"] {
        refused(pod.create(name, &wish(name)).map(drop), Code::Again, name);
        refused(pod.start(name), Code::Again, name);
    }
    for name in ["web", "again"] {
        pod.ended(name, 0);
        refused(pod.start(name), Code::Again, "ended");
    }
    refused(pod.create("web", &wish("web")).map(drop), Code::Again, "once");
    up(&mut pod, "again");
}

#[test]
fn what_is_not_in_the_manifest_is_refused_by_its_name() {
    let mut pod = running();
    refused(pod.create("miner", &wish("web")).map(drop), Code::Unlisted, "miner");
    refused(pod.start("miner"), Code::Unlisted, "miner");
    refused(pod.start("web"), Code::NotFound, "not been created");
    up(&mut pod, "first");
    up(&mut pod, "side");
    let probe = Wish { args: vec!["/bin/probe".into()], ..wish("side") };
    assert_eq!(pod.exec("side", &probe).unwrap().1.len(), 3);
    for args in [vec!["/bin/sh"], vec!["/bin/probe", "-x"], vec![], vec!["/bin/side", "-v"]] {
        let args = args.into_iter().map(str::to_owned).collect();
        refused(pod.exec("side", &Wish { args, ..wish("side") }), Code::Unlisted, "lists no");
    }
    refused(pod.exec("web", &probe), Code::NotFound, "web");
    refused(pod.exec("side", &Wish { uid: 0, ..probe }), Code::Differs, "user");
    assert_eq!(pod.signal("side", 15).unwrap().number(), 15);
    for signal in [0, 1, 10, 32, 64, 255] {
        refused(pod.signal("side", signal), Code::Unlisted, "signal");
    }
    refused(pod.signal("first", 9), Code::NotFound, "first");
}

#[test]
fn every_difference_is_refused_by_its_name() {
    let mut pod = running();
    let honest = wish("first");
    type Change = fn(&mut Wish);
    let changes: [(&str, Change); 17] = [
        ("argument 1", |wish| wish.args[1] = "-w".into()),
        ("argument 2", |wish| wish.args.push("x".into())),
        ("argument 1", |wish| drop(wish.args.pop())),
        ("argument 0", |wish| wish.args.clear()),
        ("folder", |wish| wish.cwd = "/tmp".into()),
        ("user", |wish| wish.uid = 0),
        ("user", |wish| wish.gid = 0),
        ("groups", |wish| wish.groups.push(0)),
        ("groups", |wish| wish.groups.clear()),
        ("capabilities", |wish| wish.capabilities |= 1 << 21),
        ("capabilities", |wish| wish.capabilities = 0),
        ("root", |wish| wish.readonly = false),
        ("terminal", |wish| wish.terminal = true),
        ("LD_PRELOAD", |wish| wish.env.push("LD_PRELOAD=/x.so".into())),
        ("A=c", |wish| wish.env[0] = "A=c".into()),
        ("missing", |wish| drop(wish.env.remove(0))),
        ("twice", |wish| wish.env.push("A=b".into())),
    ];
    for (names, change) in changes {
        let mut wish = honest.clone();
        change(&mut wish);
        refused(pod.create("first", &wish).map(drop), Code::Differs, names);
    }
    // And none of it has left anything behind.
    up(&mut pod, "first");
}

#[test]
fn open_values_are_of_their_types_and_others_are_not_open() {
    let with = |entry: &str| {
        let mut pod = running();
        let mut wish = wish("first");
        wish.env[2] = entry.into();
        pod.create("first", &wish).map(drop)?;
        pod.start("first").map(|(_, environment)| environment)
    };
    assert!(with("POD_IP=fd00::1").unwrap().contains(&"POD_IP=fd00::1".to_owned()));
    refused(with("POD_IP=evil.example"), Code::Differs, "POD_IP");
    refused(with("POD_IP="), Code::Differs, "POD_IP");
    refused(with("HOSTNAME=x"), Code::Differs, "HOSTNAME");
    // Variables of services are dropped where the manifest does not open them.
    let services = with("KUBERNETES_SERVICE_HOST=10.0.0.1").unwrap();
    assert_eq!(services, ["A=b", "PATH=/bin"]);
    refused(with("KUBERNETES_SERVICE_HOST=$(id)"), Code::Differs, "KUBERNETES");
}

#[test]
fn engines_that_name_the_group_among_the_further_ones_differ_in_nothing() {
    let mut pod = running();
    pod.create("first", &Wish { groups: vec![1000, 44, 44], ..wish("first") }).unwrap();
}

proptest! {
    /// Whatever order a host asks in, what runs began behind all that comes before it.
    #[test]
    fn no_sequence_of_questions_starts_anything_out_of_order(
        asked in prop::collection::vec((0..4usize, 0..3u8, 0..2u32), 0..60),
    ) {
        const NAMES: [&str; 4] = ["first", "side", "web", "again"];
        let mut pod = running();
        let (mut begun, mut starts) = ([false; 4], [0; 4]);
        for (at, what, status) in asked {
            let name = NAMES[at];
            match what {
                0 => drop(pod.create(name, &wish(name)).map(drop)),
                1 => if pod.start(name).is_ok() {
                    prop_assert!(begun[..at].iter().all(|begun| *begun), "{name}");
                    starts[at] += 1;
                    begun[at] = at != 0;
                },
                _ => if pod.running(name).is_ok() {
                    pod.ended(name, status);
                    begun[at] |= status == 0;
                },
            }
        }
        prop_assert!(starts[..3].iter().all(|count| *count <= 1), "{starts:?}");
    }
}
