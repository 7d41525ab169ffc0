//! A disk whose guest wants more of it than its limits let it have. Protects: what is held back is
//! not in hand, so that a message which stops the queue never waits for it, and nothing of it is
//! lost; it goes on at once when the limits are lifted. Cannot tell how much goes in a second:
//! that arithmetic is tested with a given clock (`devices/backend/src/bucket.rs`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_device_backend::{Limits, Mode, Place, Rate, Session, Throttle};
use casemate_device_block::{Block as Device, Disk, Extent, Facts};
use casemate_device_queue::{Durability, Pieces};
use casemate_test_devices::driver::{DATA, Driver, header};
use casemate_test_devices::memory::GuestRam;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::channel;
use vhost::VhostBackend;

/// Does nothing, at once.
struct Fast;

impl Disk for Fast {
    fn read(&self, _: Extent, _: Pieces<'_>) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: Extent, _: Pieces<'_>, _: Durability) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
    fn zero(&self, _: Extent, _: bool) -> io::Result<()> {
        Ok(())
    }
}

/// Two reads of a sector: after the first, which leaves a debt of 528 bytes at one a second, the
/// other waits for minutes. So whatever waits for it makes this test last as long.
#[test]
fn a_queue_that_its_limits_hold_back_stops_at_once_and_goes_on_where_it_was() {
    let facts = Facts {
        sectors: 64,
        block_size: 512,
        queues: 1,
        read_only: false,
        direct: false,
        discard: false,
        write_zeroes: false,
        serial: [0; 20],
    };
    let least = Limits { bytes: Rate::new(1, 1), operations: None };
    let throttle = Arc::new(Throttle::new(least).unwrap());
    let device = Device::new(Fast, facts).throttled(throttle.clone());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        let mut session = session.unwrap();
        tell.send(session.pulses()).unwrap();
        session.serve()
    });
    let mut driver = Driver::negotiate(ours, 1, GuestRam::new(4 << 20));
    driver.activate(1 << 9);
    for head in [0, 3] {
        let at = DATA + u64::from(head) * 0x1000;
        driver.ram.write(at, &header(0, 1));
        driver.chain(0, head, &[(at, 16, false), (at + 0x200, 512, true), (at + 0x800, 1, true)]);
        driver.put(0, head);
    }
    driver.publish(0);
    assert_eq!(driver.wait(0), Some((0, 513)));
    let pulses = told.recv().unwrap();
    while pulses.seen().nth(1).unwrap().place != Place::Waits {
        std::thread::yield_now();
    }
    assert_eq!(driver.answer(0), None, "the second goes before its time");
    // Whoever watches takes none of this for a hang, and the queue stops where it was.
    assert_eq!(driver.stop(0), 1);
    let kick = driver.queues[0].kick.try_clone().unwrap();
    driver.front.set_vring_kick(0, &kick).unwrap();
    driver.activate(1 << 9);
    driver.queues[0].kick.write(1).unwrap();
    assert_eq!(driver.answer(0), None);
    throttle.set(Limits::default());
    pulses.look_again();
    assert_eq!(driver.wait(0), Some((3, 513)));
    drop(driver);
    thread.join().unwrap();
}
