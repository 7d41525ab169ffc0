//! A key broker as its user has it: `casemate kbs serve` with its three processes, and guests of a
//! MODEL processor that come over TLS.
//!
//! Protects what guests and owners rely on: secrets go to who proves what the policy wants, as
//! often as it admits, whatever dies in the middle; and a broker that has ended leaves nothing.
//! Cannot tell of real processors: the machine is a MODEL, and says so.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod full;
#[path = "../kbs/mod.rs"]
mod kbs;
mod serving;

use kbs::https::Https;
use kbs::{Guest, Place, grant, grant_to};
use rustix::process::{Pid, Signal, kill_process};
use serving::{FRONT, KEEPER, is_alive, program, serve, until, words};
use std::io::{BufRead, BufReader};
use std::path::Path;

#[test]
fn a_guest_gets_its_secret_over_tls_and_the_policy_and_the_store_are_heard() {
    let other = "ab".repeat(48);
    let grants =
        [grant("acme/db/key", 1), grant("acme/db/gone", 5), grant_to("acme/other/*", 5, &other)];
    let place = Place::new("serve", &grants.concat());
    place.kbs_ok(&["put", "acme/db/key"], b"swordfish");
    let broker = serve(&place);
    assert_eq!(place.kbs_ok(&["pin"], b"").lines().next(), Some(broker.pin.as_str()));
    let mut guest = broker.guest(1);
    let first = guest.get("acme/db/key");
    assert_eq!(first.status, 401, "{}", first.detail());
    assert_eq!(guest.attest().status, 200);
    let reply = guest.get("acme/db/key");
    assert_eq!(guest.open(&reply), b"swordfish");
    // Again in the same session, and from the same connection: it costs nothing.
    let reply = guest.get("acme/db/key");
    assert_eq!(guest.open(&reply), b"swordfish");
    assert_eq!(guest.carrier.connections, 1);
    let denied = guest.get("acme/other/key");
    assert_eq!(denied.status, 403);
    assert!(denied.detail().contains("measurement"), "{}", denied.detail());
    let nothing = guest.get("acme/none/key");
    assert_eq!(nothing.status, 403, "{}", nothing.detail());
    assert_eq!(guest.get("acme/db/gone").status, 404);
    assert_eq!(guest.call("GET", "/other", b"").status, 404);
    // Another session: one use too many.
    let mut second = broker.guest(2);
    assert_eq!(second.attest().status, 200);
    let denied = second.get("acme/db/key");
    assert_eq!(denied.status, 403);
    assert!(denied.detail().contains("uses"), "{}", denied.detail());
    // Beside the broker that runs, the owner puts what was not there.
    let put = place.kbs_ok(&["put", "acme/db/gone"], b"late");
    assert_eq!(put, "acme/db/gone version 1\n");
    let reply = guest.get("acme/db/gone");
    assert_eq!(guest.open(&reply), b"late");
    place.kbs_ok(&["put", "acme/db/gone"], b"later");
    let reply = guest.get("acme/db/gone");
    assert_eq!(guest.open(&reply), b"later");
    place.kbs_ok(&["revoke", "acme/db/gone", "2"], b"");
    let reply = guest.get("acme/db/gone");
    assert_eq!(guest.open(&reply), b"late");
    let list = place.kbs_ok(&["list"], b"");
    assert_eq!(list, "acme/db/gone  2 versions, 1 revoked\nacme/db/key  1 version\n");
    assert_eq!(place.kbs_ok(&["get", "acme/db/key"], b""), "swordfish");
    let words = broker.end();
    assert_eq!(words, "");
    let log = place.kbs_ok(&["log", "--point", "secrets"], b"");
    assert_eq!(log.matches("secrets allow ").count(), 6, "{log}");
    assert_eq!(log.matches("secrets deny ").count(), 3, "{log}");
    assert!(!log.contains("swordfish"));
    place.kbs_ok(&["log", "--verify"], b"");
    // What is left is what was there, and the log.
    assert!(!place.has("control.sock"));
}

/// A session's token is worth nothing to who has another key: what comes is sealed to the key that
/// was attested, and no use is taken but the one that this session's own request would take.
#[test]
fn a_stolen_cookie_opens_nothing_and_burns_no_use_of_others() {
    let place = Place::new("stolen", &grant("acme/db/key", 1));
    place.kbs_ok(&["put", "acme/db/key"], b"swordfish");
    let broker = serve(&place);
    let mut guest = broker.guest(1);
    assert_eq!(guest.attest().status, 200);
    let mut thief = broker.guest(2);
    thief.cookie.clone_from(&guest.cookie);
    let reply = thief.get("acme/db/key");
    assert_eq!(reply.status, 200);
    let sealed = casemate_kbs::Sealed::read(&reply.body).unwrap();
    assert!(sealed.open(&thief.key).is_err());
    // The guest's own use is the one that was taken: it loses nothing.
    let reply = guest.get("acme/db/key");
    assert_eq!(guest.open(&reply), b"swordfish");
    // A cookie with any byte changed is of no session.
    let cookie = guest.cookie.clone();
    for at in (0..cookie.len()).step_by(cookie.len() / 7) {
        let mut bytes = cookie.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        thief.cookie = String::from_utf8(bytes).unwrap();
        let reply = thief.get("acme/db/key");
        assert!(matches!(reply.status, 400 | 401), "{at}: {reply:?}");
    }
    broker.end();
}

#[test]
fn a_hundred_guests_at_once_get_each_their_own_and_no_more_than_is_admitted() {
    const GUESTS: u32 = 100;
    const ADMITTED: u32 = 60;
    let place = Place::new("hundred", &grant("acme/db/key", ADMITTED));
    place.kbs_ok(&["put", "acme/db/key"], b"swordfish");
    let broker = serve(&place);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..GUESTS)
            .map(|key| {
                let https = broker.https();
                scope.spawn(move || {
                    let mut guest = Guest::new(https, key);
                    assert_eq!(guest.attest().status, 200);
                    let reply = guest.get("acme/db/key");
                    if reply.status == 200 {
                        assert_eq!(guest.open(&reply), b"swordfish");
                    }
                    reply.status
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let of = |status: u16| statuses.iter().filter(|one| **one == status).count();
    let (admitted, rest) = (ADMITTED as usize, (GUESTS - ADMITTED) as usize);
    assert_eq!((of(200), of(403)), (admitted, rest), "{statuses:?}");
    broker.end();
    let log = place.kbs_ok(&["log", "--point", "secrets"], b"");
    assert!(log.matches("secrets allow ").count() >= admitted);
    place.kbs_ok(&["log", "--verify"], b"");
}

/// `kill -9` of the keeper, of the front and of the supervisor, in the middle of work: what was
/// given stays counted, what was put stays there, and the broker that is started anew goes on.
#[test]
fn what_was_given_and_put_survives_a_kill_at_any_moment() {
    const ADMITTED: u32 = 40;
    let place = Place::new("killed", &grant("acme/db/key", ADMITTED));
    place.kbs_ok(&["put", "acme/db/key"], b"version 1");
    let (mut given, mut versions, mut key) = (0, 1, 0_u32);
    for round in 0..9 {
        let mut broker = serve(&place);
        let victims = [KEEPER, FRONT, "casemate"];
        let victim = victims[round % victims.len()];
        std::thread::scope(|scope| {
            let counted: Vec<_> = (0..3)
                .map(|_| {
                    let (https, first) = (broker.https(), key);
                    key += 1000;
                    scope.spawn(move || guests_until_it_dies(https, first))
                })
                .collect();
            let (place, broker) = (&place, &broker);
            let put = scope.spawn(move || {
                let mut done = 0_u32;
                // The broker is asked as long as it answers.
                while done < 3 && place.kbs(&["put", "acme/db/key"], b"a version").status.success()
                {
                    done += 1;
                }
                done
            });
            std::thread::sleep(std::time::Duration::from_millis(30 * round as u64 + 20));
            match victim {
                "casemate" => broker.signal(Signal::KILL),
                process => broker.kill(process),
            }
            given += counted.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>();
            versions += put.join().unwrap();
        });
        let (status, words) = broker.ended();
        assert!(!status.success());
        match victim {
            "casemate" => {}
            KEEPER => assert!(words.contains("the keeper ended"), "{victim}: {words:?}"),
            _ => assert!(words.contains("on the network"), "{victim}: {words:?}"),
        }
        until("its control socket goes", || !place.has("control.sock"));
    }
    // Every use that was given is counted, so what is left is no more than that; each kill may
    // have cost the uses that were on their way.
    let broker = serve(&place);
    let mut more = 0;
    loop {
        let mut guest = broker.guest(1_000_000 + more);
        assert_eq!(guest.attest().status, 200);
        let reply = guest.get("acme/db/key");
        if reply.status != 200 {
            assert_eq!(reply.status, 403, "{}", reply.detail());
            break;
        }
        more += 1;
    }
    assert!(given + more <= ADMITTED, "{given} given, then {more}: a count was given back");
    let kept = place.kbs_ok(&["versions", "acme/db/key"], b"").lines().count();
    assert!(kept >= versions as usize, "{kept} versions, and {versions} were told of");
    broker.end();
    place.kbs_ok(&["log", "--verify"], b"");
}

/// Guests one after the other, each with a use; how many were given one.
fn guests_until_it_dies(https: Https, first: u32) -> u32 {
    struct Fallible(Https, bool);
    impl kbs::Carrier for Fallible {
        fn call(&mut self, m: &str, path: &str, cookie: Option<&str>, body: &[u8]) -> kbs::Reply {
            let dead = kbs::Reply { status: 0, set_cookie: None, body: Vec::new() };
            if self.1 {
                return dead;
            }
            self.0.try_call(m, path, cookie, body).unwrap_or_else(|_| {
                self.1 = true;
                dead
            })
        }
    }
    let mut given = 0;
    let mut carrier = Fallible(https, false);
    for key in first.. {
        let mut guest = Guest::new(carrier, key);
        if guest.try_attest().is_none_or(|reply| reply.status != 200) {
            break;
        }
        let reply = guest.get("acme/db/key");
        if reply.status != 200 {
            break;
        }
        assert!(guest.open(&reply).ends_with(b"version") || guest.open(&reply) == b"version 1");
        given += 1;
        carrier = guest.carrier;
    }
    given
}

/// Prints what an attestation and a secret cost the broker's two processes in processor time, as
/// the kernel counts it, and what they have resident after that. Checks nothing.
#[test]
#[ignore = "prints numbers, and checks nothing"]
fn print_processor_time() {
    const TIMES: u32 = 300;
    let place = Place::new("time", &grant("acme/db/key", 1_000_000));
    place.edit("requests_per_second = 100", "requests_per_second = 1000000");
    place.kbs_ok(&["put", "acme/db/key"], b"swordfish");
    let broker = serve(&place);
    let processes = [FRONT, KEEPER].map(|name| (name, broker.pid(name)));
    let used = |pid: u32| -> u64 {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let tasks = tasks.map(|task| task.unwrap().path().join("schedstat"));
        let nanos = |text: String| text.split(' ').next().unwrap().parse::<u64>().unwrap();
        tasks.map(|task| nanos(std::fs::read_to_string(task).unwrap())).sum()
    };
    let mut guest = broker.guest(0);
    for (what, anew) in [("a kept connection", false), ("a new connection each", true)] {
        let before = processes.map(|(_, pid)| used(pid));
        for key in 0..TIMES {
            let mut bytes = [9; 32];
            bytes[..4].copy_from_slice(&(key + u32::from(anew) * TIMES).to_be_bytes());
            guest.key = casemate_kbs::SessionKey::new(&bytes).unwrap();
            guest.cookie.clear();
            if anew {
                guest.carrier.hang_up();
            }
            assert_eq!(guest.attest().status, 200);
            assert_eq!(guest.get("acme/db/key").status, 200);
        }
        for ((name, pid), before) in processes.iter().zip(before) {
            let each = (used(*pid) - before) / u64::from(TIMES) / 1000;
            println!(
                "{what}: {name}: {each} us of processor time for challenge, attestation, secret"
            );
        }
    }
    for (name, pid) in processes {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let resident = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        println!("{name}: {resident}");
    }
    broker.end();
}

/// Whoever kills the supervisor ends the broker: nobody serves on without who watches.
#[test]
fn no_process_outlives_a_supervisor_that_is_killed() {
    let place = Place::new("orphans", &grant("acme/db/key", 1));
    let mut broker = serve(&place);
    let processes = broker.processes();
    assert!(processes.len() >= 3, "{processes:?}");
    broker.signal(Signal::KILL);
    broker.child.wait().unwrap();
    for (name, pid) in processes {
        until(&name, || !is_alive(pid));
    }
    until("control.sock", || !place.has("control.sock"));
    // And another can be started at once.
    assert_eq!(serve(&place).end(), "");
}

/// Each of these is one line, with the right status, and nothing is left behind.
#[test]
fn a_broker_that_cannot_be_started_says_why_in_one_line_and_leaves_nothing() {
    let place = Place::new("refused", &grant("acme/db/key", 1));
    let start = |says: &str, status: i32| {
        let mut child = program(&place);
        let words = words(&mut child);
        let code = child.wait().unwrap().code();
        assert!(words.contains(says), "{says}: {words}");
        assert_eq!((code, words.lines().count()), (Some(status), 1), "{words}");
        assert!(!place.has("control.sock"), "{words}");
    };
    let with = |name: &str, text: &str, says: &str| {
        let path = place.path(name);
        let before = std::fs::read(&path).unwrap();
        std::fs::write(&path, text).unwrap();
        start(says, 2);
        std::fs::write(&path, before).unwrap();
    };
    let toml = kbs::read(&place.path("kbs.toml"));
    with("kbs.toml", &toml.replace("workers = 4", "workers = 4\nx = 1"), "unknown field `x`");
    with("kbs.toml", &toml.replace("\"kek\"", "\"keks\""), "keks");
    with("kbs.toml", &toml.replace("\"certs\"", "\"nowhere\""), "certificates");
    with("policy.toml", "schema_version = 1\nmin_engine = \"0.1.0\"\n", "it grants no secret");
    with("policy.toml", "x", "policy.toml");
    with("tls.pem", "x", "no certificate");
    with("tls.key", "x", "private key in PEM");
    with("kek", &"0".repeat(64), "does not open the store");
    with("model.pem", "x", "accept_model_root");
    let broker = serve(&place);
    let mut second = program(&place);
    let said = words(&mut second);
    assert_eq!(second.wait().unwrap().code(), Some(2), "{said}");
    assert!(said.contains("another process uses this store"), "{said}");
    assert!(place.has("control.sock"));
    broker.end();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("\"{}\"", taken.local_addr().unwrap());
    place.edit("\"127.0.0.1:0\"", &at);
    start("listen: ", 1);
}

/// What a supervisor would be good for, if it were taken over: nothing of what the broker keeps is
/// in it. Needs root, to look into its memory.
#[test]
fn neither_supervisor_nor_front_has_a_key() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: needs root");
        return;
    }
    let place = Place::new("keyless", &grant("acme/db/key", 3));
    place.kbs_ok(&["put", "acme/db/key"], b"a secret that is looked for 7Qz");
    let broker = serve(&place);
    let mut guest = broker.guest(1);
    assert_eq!(guest.attest().status, 200);
    let reply = guest.get("acme/db/key");
    guest.open(&reply);
    let key = |name: &str| {
        let digits = kbs::read(&place.path(name));
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..64).step_by(2).map(byte).collect::<Vec<u8>>()
    };
    let pem = kbs::read(&place.path("tls.key"));
    let lines = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
    use base64ct::Encoding;
    let tls = base64ct::Base64::decode_vec(&lines).unwrap();
    // The private number stands at a place of its own in PKCS #8 of P-256.
    let number = &tls[36..68];
    let secrets = [key("kek"), key("broker.key"), number.to_vec()];
    let has = |pid: u32, what: &[u8]| casemate_test_support::sandbox::memory_has(pid, what);
    for what in &secrets {
        assert!(!has(broker.child.id(), what));
        assert!(!has(broker.pid(FRONT), what));
    }
    assert!(has(broker.pid(KEEPER), &secrets[0]));
    assert!(!has(broker.pid(FRONT), b"a secret that is looked for 7Qz"));
    broker.end();
}

/// Protects from a leftover of this very test: what it uses is gone.
#[test]
fn a_broker_over_a_socket_in_the_file_system_leaves_no_socket() {
    let place = Place::new("unix", &grant("acme/db/key", 1));
    place.edit("[\"127.0.0.1:0\"]", "[\"unix:guests.sock\"]");
    let mut child = program(&place);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("ready unix:"), "{line}{}", words(&mut child));
    assert!(Path::new(&place.path("guests.sock")).exists());
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
    until("guests.sock", || !place.has("guests.sock") && !place.has("control.sock"));
}
