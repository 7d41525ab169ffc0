//! What drives a socket device: everything that a guest and its host do with streams.

use crate::place::{PORT, Place};
use casemate_device_vsock::{Op, Ports};
use casemate_test_devices::vsock::Guest;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Everything that a guest and its host do with streams, as often as it takes to use every call.
pub fn use_streams(guest: &mut Guest, place: &Place) {
    let ports = Ports { guest: 1025, host: PORT };
    // The guest begins.
    guest.send(Op::Request, ports, 0, 0, &[]);
    let (mut host, _) = place.host.accept().unwrap();
    assert_eq!(guest.expect(Op::Response).ports, ports);
    guest.send(Op::Data, ports, 0, 0, b"to the host");
    let mut bytes = [0; 11];
    host.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"to the host");
    host.write_all(b"to the guest").unwrap();
    assert_eq!(guest.expect(Op::Data).bytes, b"to the guest");
    // Each side ends one direction.
    guest.send(Op::Shutdown, ports, 2, 12, &[]);
    assert_eq!(host.read(&mut bytes).unwrap(), 0);
    host.shutdown(std::net::Shutdown::Write).unwrap();
    // Then nothing goes in either direction any more.
    assert_eq!(guest.expect(Op::Shutdown).flags, 3);
    guest.send(Op::Shutdown, ports, 3, 12, &[]);
    guest.expect(Op::Reset);
    // A port that is not named, and one that nobody listens at any more.
    guest.send(Op::Request, Ports { host: 99, ..ports }, 0, 0, &[]);
    guest.expect(Op::Reset);
    // The host begins, by the path and by a forward; what the host does not read waits.
    let mut client = UnixStream::connect(place.scratch.path("v")).unwrap();
    client.write_all(b"CONNECT 7\n").unwrap();
    let request = guest.expect(Op::Request);
    assert_eq!(request.ports.guest, 7);
    guest.send(Op::Response, request.ports, 0, 0, &[]);
    let line = format!("OK {}\n", request.ports.host);
    let mut answer = vec![0; line.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, line.as_bytes());
    let forwarded = UnixStream::connect(place.scratch.path("f")).unwrap();
    let second = guest.expect(Op::Request);
    assert_eq!(second.ports.guest, 22);
    guest.send(Op::Response, second.ports, 0, 0, &[]);
    let block = vec![0x5a; 0x1_0000];
    let credit = request.credit.size as usize;
    let mut sent = 0;
    // Until socket and buffer are full: the credit is used up, and nothing is lost.
    let mut taken = 0;
    while sent + block.len() - taken <= credit {
        guest.send(Op::Data, request.ports, 0, 0, &block);
        sent += block.len();
        guest.send(Op::CreditRequest, request.ports, 0, 0, &[]);
        taken = guest.expect(Op::CreditUpdate).credit.taken as usize;
    }
    let mut all = vec![0; sent];
    client.read_exact(&mut all).unwrap();
    assert!(all.iter().all(|byte| *byte == 0x5a));
    // A host that goes away, and a guest that receives no more.
    drop(client);
    let over = loop {
        let came = guest.receive();
        if came.op == Op::Shutdown {
            break came;
        }
        assert_eq!(came.op, Op::CreditUpdate);
    };
    assert_eq!((over.ports, over.flags), (request.ports, 3));
    guest.send(Op::Reset, request.ports, 0, 0, &[]);
    guest.send(Op::Shutdown, second.ports, 1, 0, &[]);
    guest.send(Op::Shutdown, second.ports, 3, 0, &[]);
    guest.expect(Op::Reset);
    drop(forwarded);
}

pub fn drive_ours(mut guest: Guest, place: &Place) {
    guest.that_was_all();
    for _ in 0..2 {
        guest.begin();
        use_streams(&mut guest, place);
        guest.stop();
    }
}

/// As other VMMs do: memory and events come again while it runs.
pub fn drive_foreign(mut guest: Guest, place: &Place) {
    guest.that_was_all();
    for _ in 0..2 {
        guest.driver.send_memory();
        guest.driver.send_events();
        guest.begin();
        use_streams(&mut guest, place);
        guest.stop();
    }
}
