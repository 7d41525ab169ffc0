//! Protects who asks a broker: the front's real loop, over real sockets and TLS, with a keeper that
//! speaks the real messages. Cannot tell what the lock makes of the process (`broker_front` of the
//! program's tests can), nor what a real keeper answers.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use casemate_front::{Front, FrontError, Limits};
use casemate_relay::Call;
use casemate_test_front::{
    Around, Reply, answer, around, ask, client_config, echo, from, get, over, post, tcp, unix,
    usual,
};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

struct Serving {
    around: Around,
    front: Option<JoinHandle<Result<(), FrontError>>>,
}

impl Serving {
    fn new(limits: Limits, reply: impl Fn(&Call<'_>) -> Reply + Send + 'static) -> Self {
        let (mut around, plan, sockets) = around(limits);
        around.keep(reply);
        let mut front = Front::new(&plan, sockets).unwrap();
        Self { around, front: Some(std::thread::spawn(move || front.serve())) }
    }

    fn usual() -> Self {
        Self::new(Limits::default(), echo)
    }

    fn end(mut self) -> Result<(), FrontError> {
        self.around.control = None;
        self.front.take().unwrap().join().unwrap()
    }
}

#[test]
fn requests_are_answered_over_tcp_and_over_a_socket_of_the_file_system() {
    let serving = Serving::usual();
    let mut client = tcp(&serving.around);
    let told = ask(&mut client, &post("/kbs/v0/auth?x", "{}"));
    assert_eq!(
        (told.status, told.text().as_str()),
        (200, "Some(127.0.0.1) POST /kbs/v0/auth?x None None 2")
    );
    assert!(told.head.contains("\r\nSet-Cookie: kbs-session-id=s\r\n"), "{}", told.head);
    assert!(told.head.contains("\r\nDate: ") && !told.head.contains("Connection: close"));
    // The same connection, with headers, and the last.
    let request = "GET /a HTTP/1.1\r\nHost: b\r\nCookie: c=d\r\nAuthorization: Bearer t\r\n\
                   Connection: close\r\n\r\n";
    let told = ask(&mut client, request);
    assert_eq!(told.text(), "Some(127.0.0.1) GET /a Some(\"c=d\") Some(\"Bearer t\") 0");
    assert!(told.head.contains("\r\nConnection: close\r\n"));
    assert_eq!(answer(&mut client), None);
    // The end was said: nobody cut it off.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let told = ask(&mut unix(&serving.around), &get("/"));
    assert_eq!(told.text(), "None GET / None None 0");
    assert_eq!(serving.around.signed.load(Ordering::Relaxed), 2);
    serving.end().unwrap();
}

#[test]
fn requests_that_come_at_once_are_answered_in_their_order() {
    let serving = Serving::usual();
    let mut client = tcp(&serving.around);
    let many: String = (0..50).map(|i| post(&format!("/{i}"), &"x".repeat(i * 100))).collect();
    client.write_all(many.as_bytes()).unwrap();
    for i in 0..50 {
        let expected = format!("POST /{i} None None {}", i * 100);
        assert!(answer(&mut client).unwrap().text().ends_with(&expected));
    }
}

#[test]
fn only_tls_1_3_and_http_1_1_are_spoken() {
    let serving = Serving::usual();
    let socket = || TcpStream::connect(serving.around.address).unwrap();
    let (old, new) = (&rustls::version::TLS12, &rustls::version::TLS13);
    for config in [client_config(&[old], &[]), client_config(&[new], &["h2"])] {
        assert!(over(socket(), &config).write_all(b"x").is_err());
    }
    for config in [client_config(&[old, new], &[]), client_config(&[new], &["h2", "http/1.1"])] {
        assert_eq!(ask(&mut over(socket(), &config), &get("/")).status, 200);
    }
    // HTTP without TLS gets TLS's own answer, an alert, and the end.
    let mut plain = socket();
    plain.write_all(get("/").as_bytes()).unwrap();
    let mut told = Vec::new();
    plain.read_to_end(&mut told).unwrap();
    assert_eq!(told.first(), Some(&0x15), "{told:?}");
}

#[test]
fn what_is_not_http_is_told_so_and_what_is_still_sent_does_not_take_the_answer_away() {
    let serving = Serving::usual();
    for (request, status) in [
        ("BREW / HTTP/1.1\r\nHost: b\r\n\r\n", 405),
        ("POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        ("GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        let mut client = tcp(&serving.around);
        let told = ask(&mut client, request);
        assert_eq!(told.status, status, "{request:?}");
        assert!(told.text().contains("\"detail\""), "{}", told.text());
        assert_eq!(answer(&mut client), None);
    }
    let mut client = tcp(&serving.around);
    let head = "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 200000\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    // It is sent whatever is answered, as by a client that does not look.
    let _ = client.write_all(&[0; 200_000]);
    assert_eq!(answer(&mut client).unwrap().status, 413);
}

#[test]
fn who_waits_before_a_body_is_told_to_go_on_once() {
    let serving = Serving::usual();
    let mut client = tcp(&serving.around);
    let head = "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
    for _ in 0..2 {
        assert_eq!(ask(&mut client, head).status, 100);
        assert_eq!(ask(&mut client, "{}").status, 200);
    }
}

#[test]
fn half_a_request_ends_with_408_and_no_request_with_nothing() {
    let request = Duration::from_millis(200);
    let limits = Limits { request, idle: request, handshake: request, ..Limits::default() };
    let serving = Serving::new(limits, echo);
    let mut half = tcp(&serving.around);
    assert_eq!(ask(&mut half, "POST / HTTP/1.1\r\nHost").status, 408);
    let mut none = tcp(&serving.around);
    none.conn.complete_io(&mut none.sock).unwrap();
    assert_eq!(answer(&mut none), None);
    let mut idle = tcp(&serving.around);
    assert_eq!(ask(&mut idle, &get("/")).status, 200);
    assert_eq!(answer(&mut idle), None);
    // Not even TLS.
    let mut silent = TcpStream::connect(serving.around.address).unwrap();
    let mut told = Vec::new();
    silent.read_to_end(&mut told).unwrap();
    assert!(told.len() < 10, "{told:?}");
}

#[test]
fn a_keeper_that_does_not_answer_costs_a_503_and_the_others_nothing() {
    let limits = Limits { keeper: Duration::from_millis(300), calls: 2, ..Limits::default() };
    let reply = |call: &Call<'_>| if call.path == "/slow" { Reply::Nothing } else { echo(call) };
    let serving = Serving::new(limits, reply);
    let mut other = tcp(&serving.around);
    assert_eq!(ask(&mut other, &get("/")).status, 200);
    let told = ask(&mut tcp(&serving.around), &get("/slow"));
    assert_eq!(told.status, 503);
    assert!(told.head.contains("\r\nRetry-After: "), "{}", told.head);
    assert_eq!(ask(&mut other, &get("/")).status, 200);
    // What was not answered still counts: with both calls taken nobody is asked any more.
    assert_eq!(ask(&mut tcp(&serving.around), &get("/slow")).status, 503);
    assert_eq!(ask(&mut other, &get("/")).status, 503);
    serving.end().unwrap();
}

#[test]
fn a_keeper_that_dies_ends_the_front() {
    let mut serving = Serving::new(Limits::default(), |_: &Call<'_>| Reply::Death);
    let mut client = tcp(&serving.around);
    client.write_all(get("/").as_bytes()).unwrap();
    let ended = serving.front.take().unwrap().join().unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "the keeper is gone");
}

#[test]
fn a_supervisor_that_is_gone_ends_the_front_when_what_is_asked_is_answered() {
    let asked = Arc::new(Barrier::new(2));
    let (there, go) = (asked.clone(), asked.clone());
    let serving = Serving::new(Limits::default(), move |call: &Call<'_>| {
        there.wait();
        there.wait();
        echo(call)
    });
    let (mut client, mut idle) = (tcp(&serving.around), tcp(&serving.around));
    idle.conn.complete_io(&mut idle.sock).unwrap();
    client.write_all(get("/last").as_bytes()).unwrap();
    go.wait();
    let ended = std::thread::spawn(move || serving.end());
    assert_eq!(answer(&mut idle), None);
    go.wait();
    let told = answer(&mut client).unwrap();
    assert!(told.text().contains("/last") && told.head.contains("Connection: close"));
    ended.join().unwrap().unwrap();
}

#[test]
fn who_asks_too_often_is_told_when_to_ask_again() {
    let limits = Limits { rate: 1, burst: 5, ..Limits::default() };
    let serving = Serving::new(limits, echo);
    let mut client = tcp(&serving.around);
    let asked = std::iter::from_fn(|| Some(ask(&mut client, &get("/"))));
    let told = asked.take(20).find(|told| told.status != 200).unwrap();
    assert_eq!(told.status, 429);
    assert!(told.head.contains("\r\nRetry-After: 1\r\n"), "{}", told.head);
    // Others are others, and sockets of the file system are nobody's.
    let other = from(Ipv4Addr::new(127, 0, 0, 2).into(), serving.around.address);
    assert_eq!(ask(&mut over(other, &usual()), &get("/")).status, 200);
    let mut local = unix(&serving.around);
    assert!((0..20).all(|_| ask(&mut local, &get("/")).status == 200));
}

/// Half a request of an address, as a flood has it: TLS is spoken, so it costs what it can.
fn half(serving: &Serving, number: usize) -> Option<casemate_test_front::Client<TcpStream>> {
    let source = IpAddr::from([127, 0, 1, u8::try_from(number % 250).unwrap() + 1]);
    let mut client = over(from(source, serving.around.address), &usual());
    let head = "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 60000\r\n\r\n";
    client.write_all(head.as_bytes()).ok()?;
    client.write_all(&[0; 100]).ok()?;
    client.flush().ok()?;
    Some(client)
}

/// The flood: far more half-sent requests than there is room for.
#[test]
fn a_flood_of_half_sent_requests_leaves_room_for_who_sends_whole_ones() {
    let limits = Limits { connections: 200, ..Limits::default() };
    let serving = Serving::new(limits, echo);
    let mut held = Vec::new();
    for number in 0..1000 {
        held.push(half(&serving, number));
        if number % 50 == 0 {
            let told = ask(&mut tcp(&serving.around), &post("/good", "{}"));
            assert_eq!(told.status, 200, "{number}");
        }
    }
    let there = held.iter_mut().flatten().filter(|client| {
        client.sock.set_nonblocking(true).unwrap();
        // Who had to go reads its end; who is there would wait.
        matches!(client.sock.peek(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    });
    let there = there.count();
    assert!((100..=200).contains(&there), "{there} are held");
    serving.end().unwrap();
}

/// One address has its share, by its own oldest going first.
#[test]
fn an_address_takes_no_more_connections_than_its_share() {
    let limits = Limits { per_peer: 10, ..Limits::default() };
    let serving = Serving::new(limits, echo);
    let other = from(Ipv4Addr::new(127, 0, 0, 2).into(), serving.around.address);
    let mut other = over(other, &usual());
    assert_eq!(ask(&mut other, &get("/")).status, 200);
    let mut held: Vec<_> = (0..50).map(|_| tcp(&serving.around)).collect();
    for client in &mut held {
        let _ = client.conn.complete_io(&mut client.sock);
    }
    assert_eq!(ask(&mut tcp(&serving.around), &get("/")).status, 200);
    assert_eq!(ask(&mut other, &get("/")).status, 200, "another's was taken");
}

/// Slow readers of the longest answers: memory is bounded, and the next answer finds its way.
#[test]
fn readers_of_long_answers_who_do_not_read_make_room_for_who_does() {
    do_not_read("", 60);
}

/// The same of requests with bodies that are more, together, than requests may hold: what was
/// answered is not kept, and does not hide the answers.
#[test]
fn long_requests_of_readers_who_do_not_read_keep_no_room_from_answers() {
    do_not_read(&"x".repeat(60 * 1024), 700);
}

/// So many clients ask for long answers with this body, and do not read.
fn do_not_read(body: &str, clients: usize) {
    let long = vec![b'x'; casemate_relay::MAX_ANSWER];
    let reply = move |call: &Call<'_>| {
        if call.path == "/long" { Reply::ok(long.clone()) } else { echo(call) }
    };
    let serving = Serving::new(Limits { calls: 256, ..Limits::default() }, reply);
    // Of many addresses, since one has a share.
    let address =
        |number: usize| IpAddr::from([127, 0, 2, u8::try_from(number % 250).unwrap() + 1]);
    let connected = |number| over(from(address(number), serving.around.address), &usual());
    let mut held: Vec<_> = (0..clients).map(connected).collect();
    for client in &mut held {
        // Who had to go does not take it all.
        let _ = client.write_all(post("/long", body).as_bytes());
        let _ = client.flush();
    }
    assert_eq!(ask(&mut tcp(&serving.around), &get("/")).status, 200);
    let whole = ask(&mut tcp(&serving.around), &get("/long"));
    assert_eq!((whole.status, whole.body.len()), (200, casemate_relay::MAX_ANSWER));
    // 60 answers of 1.5 MiB are more than is kept: the oldest had to go, and see that they were
    // cut.
    let cut = held.iter_mut().filter_map(|client| {
        let mut told = vec![0; casemate_relay::MAX_ANSWER];
        client.read_exact(&mut told).err()
    });
    let cut: Vec<_> = cut.map(|error| error.kind()).collect();
    // At most as many as fit are whole.
    let fit = (32 << 20) / casemate_relay::MAX_ANSWER + 1;
    assert!(cut.len() < clients && cut.len() + fit >= clients.min(60), "{}", cut.len());
}

#[test]
fn a_handshake_longer_than_one_can_be_is_not_waited_for() {
    let serving = Serving::usual();
    let mut client = TcpStream::connect(serving.around.address).unwrap();
    // A ClientHello of 60 KiB, which TLS lets be said in many records.
    let mut hello = vec![1, 0, 0xea, 0x60];
    hello.extend([0; 16_380]);
    let mut sent = Vec::new();
    for part in 0..4 {
        let bytes = if part == 0 { &hello[..] } else { &[0; 16_384] };
        sent.extend([0x16, 3, 1]);
        sent.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        sent.extend(bytes);
    }
    let _ = client.write_all(&sent);
    let mut told = Vec::new();
    let _ = client.read_to_end(&mut told);
    assert_eq!(ask(&mut tcp(&serving.around), &get("/")).status, 200);
}

/// Whether a program of others is there.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("SKIPPED: {program} is not installed");
    }
    found
}

/// Clients that were not written with this server in mind.
#[test]
fn curl_and_openssl_are_served() {
    let serving = Serving::usual();
    let (port, path) = (serving.around.address.port(), &serving.around.path);
    if has("curl") {
        let curl = |args: &[&str]| {
            let mut curl = Command::new("curl");
            curl.args(["-sk", "--max-time", "60"]).args(args);
            let output = curl.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let url = format!("https://127.0.0.1:{port}/kbs/v0/attest");
        // More than 1 MiB would make curl expect 100; here it is told to.
        let body = "x".repeat(60_000);
        let told = curl(&["-d", &body, "-H", "Expect: 100-continue", "-b", "k=v", &url, &url]);
        let one = "Some(127.0.0.1) POST /kbs/v0/attest Some(\"k=v\") None 60000";
        assert_eq!(told, [one, one].concat());
        let status = curl(&["-o", "/dev/null", "-w", "%{http_code} %{http_version}", "-I", &url]);
        assert_eq!(status, "405 1.1");
        let socket = path.to_str().unwrap();
        let told = curl(&["--unix-socket", socket, "https://broker/a"]);
        assert_eq!(told, "None GET /a None None 0");
        let long =
            curl(&["-o", "/dev/null", "-w", "%{http_code}", "-d", &"x".repeat(99_999), &url]);
        assert_eq!(long, "413");
    }
    if has("openssl") {
        let mut openssl = Command::new("openssl")
            .args(["s_client", "-quiet", "-ign_eof", "-connect", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let request = "GET /o HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";
        openssl.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
        let told = openssl.wait_with_output().unwrap().stdout;
        let told = String::from_utf8_lossy(&told);
        assert!(told.ends_with("Some(127.0.0.1) GET /o None None 0"), "{told}");
    }
    serving.end().unwrap();
}

/// What a front does when an answer comes for a client that is gone: nothing.
#[test]
fn clients_that_leave_while_the_keeper_works_leave_nothing_behind() {
    let slow = Arc::new(AtomicBool::new(true));
    let waits = slow.clone();
    let reply = move |call: &Call<'_>| {
        while call.path == "/slow" && waits.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        echo(call)
    };
    let serving = Serving::new(Limits { calls: 4, ..Limits::default() }, reply);
    for _ in 0..50 {
        let mut client = tcp(&serving.around);
        client.write_all(get("/slow").as_bytes()).unwrap();
    }
    slow.store(false, Ordering::Relaxed);
    assert_eq!(ask(&mut tcp(&serving.around), &get("/")).status, 200);
    serving.end().unwrap();
}
