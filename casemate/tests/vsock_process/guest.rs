//! What a guest sees of its device when it is stopped, and when its rings are broken.

use crate::place::{PORT, device};
use crate::streams::use_streams;
use casemate_device_process::{DONE, FrontEnd};
use casemate_device_vsock::{Op, Ports};
use casemate_sandbox::Exit;
use casemate_test_devices::driver::DATA;
use casemate_test_devices::vsock::Guest;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

/// Protects a driver that is stopped and goes on, as other VMMs do it with a guest that is paused:
/// its connections are gone, and it is told.
pub fn a_guest_that_was_stopped_is_told_that_its_connections_are_gone() {
    let mut device = device(FrontEnd::Foreign, |_| ());
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    guest.begin();
    let ports = Ports { guest: 1025, host: PORT };
    guest.send(Op::Request, ports, 0, 0, &[]);
    let (mut host, _) = device.place.host.accept().unwrap();
    guest.expect(Op::Response);
    assert_eq!(guest.event(), None);
    guest.stop();
    assert_eq!(host.read(&mut [0; 1]).unwrap(), 0, "the host's side has come to its end");
    guest.driver.send_events();
    guest.driver.activate(0);
    // What was posted before is still there: one event, and then a packet that is for nobody.
    assert!(guest.driver.wait(2).is_some());
    assert_eq!(guest.driver.ram.read(DATA + 0x60_0000, 4), [0; 4]);
    guest.send(Op::Data, ports, 0, 0, b"late");
    guest.expect(Op::Reset);
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects what needs no connector: a guest whose connector has died is refused what that one
/// would have done, and keeps its other connections; the host still comes by the path.
pub fn a_device_whose_connector_is_gone_refuses_what_it_did_and_goes_on() {
    let mut device = device(FrontEnd::Ours, |_| ());
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    guest.begin();
    let ports = Ports { guest: 1025, host: PORT };
    guest.send(Op::Request, ports, 0, 0, &[]);
    let (mut host, _) = device.place.host.accept().unwrap();
    guest.expect(Op::Response);
    device.connector.kill().unwrap();
    device.connector.wait().unwrap();
    for guests in 1026..1030 {
        guest.send(Op::Request, Ports { guest: guests, host: PORT }, 0, 0, &[]);
        assert_eq!(guest.expect(Op::Reset).ports.guest, guests);
    }
    host.write_all(b"still here").unwrap();
    assert_eq!(guest.expect(Op::Data).bytes, b"still here");
    let _forwarded = UnixStream::connect(device.place.scratch.path("f")).unwrap();
    assert_eq!(guest.expect(Op::Request).ports.guest, 22);
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}

/// Protects a guest from its own rings: one that breaks a queue breaks its device, which is told by
/// the error event, and the next driver has all of it.
pub fn a_ring_that_cannot_be_ends_the_connections_and_the_next_driver_begins_anew() {
    let mut device = device(FrontEnd::Ours, |_| ());
    let mut guest = Guest::new(device.socket);
    guest.that_was_all();
    for queue in [0, 1] {
        guest.begin();
        let ports = Ports { guest: 1025, host: PORT };
        guest.send(Op::Request, ports, 0, 0, &[]);
        let (mut host, _) = device.place.host.accept().unwrap();
        guest.expect(Op::Response);
        guest.driver.lie(queue, 9999);
        if queue == 0 {
            // The device looks at buffers when it has something for them.
            host.write_all(b"x").unwrap();
        }
        assert!(casemate_test_devices::driver::readable(&guest.driver.queues[queue].err));
        let _ = guest.driver.queues[queue].err.read();
        assert_eq!(host.read(&mut [0; 1]).unwrap_or(0), 0);
        guest.stop();
    }
    guest.begin();
    use_streams(&mut guest, &device.place);
    drop(guest);
    assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
}
