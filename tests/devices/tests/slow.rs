//! A disk that takes long. Protects: the driver is told of what is done before something long
//! begins; a message that changes a queue waits for the request in hand, and a heartbeat shows that
//! there is one; other queues do not wait. Cannot tell: how long anything takes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use casemate_device_backend::{Mode, Place, Session, Turn};
use casemate_device_block::{Block as Device, Disk, Extent, Facts};
use casemate_device_queue::{Durability, GuestMemory, Pieces, Request};
use casemate_test_devices::driver::{Block, DATA, Driver, header, readable};
use casemate_test_devices::memory::GuestRam;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use vhost::vhost_user::VhostUserFrontend;

/// Reads and writes nothing, at once; a flush says that it has begun and waits until it is let go.
struct Slow {
    begun: Sender<()>,
    let_go: Mutex<Receiver<()>>,
}

impl Disk for Slow {
    fn read(&self, _: Extent, _: Pieces<'_>) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, _: Extent, _: Pieces<'_>, _: Durability) -> io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> io::Result<()> {
        let _ = self.begun.send(());
        let let_go = self.let_go.lock().unwrap_or_else(PoisonError::into_inner);
        let_go.recv().map_err(io::Error::other)
    }
    fn zero(&self, _: Extent, _: bool) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_driver_is_told_before_something_long_begins_and_only_what_concerns_it_waits() {
    let facts = Facts {
        sectors: 64,
        block_size: 512,
        queues: 2,
        read_only: false,
        direct: false,
        discard: false,
        write_zeroes: false,
        serial: [0; 20],
    };
    let ((begun, has_begun), (let_go, wait)) = (channel(), channel());
    let disk = Slow { begun, let_go: Mutex::new(wait) };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let device = Device::new(disk, facts);
        let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        let mut session = session.unwrap();
        tell.send(session.pulses()).unwrap();
        session.serve()
    });
    let mut driver = Driver::negotiate(ours, 2, GuestRam::new(4 << 20));
    driver.activate(1 << 9);
    // A read and a flush, seen at once.
    let (read, flush) = (DATA, DATA + 0x1000);
    driver.ram.write(read, &header(0, 1));
    driver.ram.write(flush, &header(4, 0));
    driver.chain(0, 0, &[(read, 16, false), (read + 0x200, 512, true), (read + 0x800, 1, true)]);
    driver.chain(0, 3, &[(flush, 16, false), (flush + 0x800, 1, true)]);
    driver.put(0, 0);
    driver.put(0, 3);
    driver.publish(0);
    has_begun.recv().unwrap();
    // Who watches sees that it is the storage that takes long, whichever thread waits for it.
    let pulses = told.recv().unwrap();
    let is_at = |thread: usize, place: Place| {
        while pulses.seen().nth(thread).unwrap().place != place {
            std::thread::yield_now();
        }
    };
    is_at(0, Place::Waits);
    is_at(1, Place::Stores);
    is_at(2, Place::Waits);
    // The flush has begun and not ended, and the driver knows of the read.
    assert!(readable(&driver.queues[0].call), "the driver is not told");
    assert_eq!((driver.answer(0), driver.answer(0)), (Some((0, 513)), None));
    // The other queue is served meanwhile.
    assert_eq!(driver.block(1, &Block { sector: 2, back: 512, ..Block::default() }).0, 0);
    // A heartbeat of the queue that is busy is answered when it is not any more.
    let front = driver.front.clone();
    let (answered, heartbeat) = channel();
    let beat = std::thread::spawn(move || {
        let mut front = front;
        answered.send(front.set_vring_enable(0, true).is_ok()).unwrap();
    });
    assert!(heartbeat.recv_timeout(std::time::Duration::from_millis(50)).is_err());
    is_at(0, Place::Works);
    is_at(1, Place::Stores);
    let_go.send(()).unwrap();
    assert_eq!(heartbeat.recv(), Ok(true));
    beat.join().unwrap();
    assert_eq!(driver.wait(0), Some((3, 1)));
    assert_eq!(driver.ram.read(flush + 0x800, 1), [0]);
    drop(driver);
    thread.join().unwrap();
}

/// A device that goes round in circles until it is let go.
struct Circles {
    begun: Sender<()>,
    let_go: Arc<AtomicBool>,
}

impl casemate_device_backend::Device for Circles {
    type Lane = ();
    fn features(&self) -> u64 {
        0
    }
    fn config(&self) -> &[u8] {
        &[]
    }
    fn queues(&self) -> u16 {
        1
    }
    fn burst(&self) -> u16 {
        1
    }
    fn lane(&self) {}
    fn answer<M: GuestMemory>(&self, (): &mut (), _: &Turn<'_>, _: Request<'_, M>) -> u32 {
        let _ = self.begun.send(());
        while !self.let_go.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        0
    }
}

/// Protects a guest from a device that loops: who watches sees the same step, at work, each time.
#[test]
fn a_thread_that_goes_round_in_circles_is_seen_at_one_step() {
    let ((begun, has_begun), let_go) = (channel(), Arc::new(AtomicBool::new(false)));
    let device = Circles { begun, let_go: let_go.clone() };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let (tell, told) = channel();
    let thread = std::thread::spawn(move || {
        let session = Session::set_up(theirs, device, Mode::Foreign, Box::new(|_, _| Ok(())));
        let mut session = session.unwrap();
        tell.send(session.pulses()).unwrap();
        session.serve()
    });
    let mut driver = Driver::negotiate(ours, 1, GuestRam::new(4 << 20));
    driver.activate(0);
    driver.ram.write(DATA, &header(0, 1));
    driver.chain(0, 0, &[(DATA, 16, false)]);
    driver.put(0, 0);
    driver.publish(0);
    has_begun.recv().unwrap();
    let pulses = told.recv().unwrap();
    let looks: Vec<_> = (0..100).map(|_| pulses.seen().nth(1).unwrap()).collect();
    assert_eq!(looks[0].place, Place::Works);
    assert!(looks.iter().all(|look| *look == looks[0]), "{looks:?}");
    let_go.store(true, Ordering::Relaxed);
    assert_eq!(driver.wait(0), Some((0, 0)));
    // It has answered, and makes its next step when it comes to that.
    while pulses.seen().nth(1).unwrap().steps == looks[0].steps {
        std::thread::yield_now();
    }
    drop(driver);
    thread.join().unwrap();
}
