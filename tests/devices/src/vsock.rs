//! A guest's side of a socket device: buffers for what comes, packets, and what they add up to.

use crate::driver::{DATA, Driver};
use crate::memory::GuestRam;
use casemate_device_vsock::{Credit, HEADER, HOST, Op, Ports, Sent};
use std::os::unix::net::UnixStream;
use vhost::vhost_user::VhostUserFrontend;

/// The guest's context id.
pub const CID: u64 = 42;
/// Bytes of a buffer, as Linux posts them.
const BUFFER: u32 = 4096;
/// Buffers that are posted.
const BUFFERS: u16 = 32;
const OUT: u64 = DATA + 0x40_0000;
const EVENT: u64 = DATA + 0x60_0000;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENTS: usize = 2;

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its driver.
    pub driver: Driver,
}

/// A packet that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Came {
    /// What for.
    pub op: Op,
    /// The connection.
    pub ports: Ports,
    /// Flags of a shutdown.
    pub flags: u32,
    /// What the host can take.
    pub credit: Credit,
    /// Bytes.
    pub bytes: Vec<u8>,
}

impl Guest {
    /// Connects to a back end: memory and every descriptor; no ring is enabled yet.
    ///
    /// # Panics
    /// Where the back end refuses.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self { driver: Driver::negotiate(socket, 3, GuestRam::new(16 << 20)) }
    }

    /// Ends the set-up, as a VM of ours does, with rings that are cleared.
    ///
    /// # Panics
    /// Where the back end refuses.
    pub fn that_was_all(&mut self) {
        (0..3).for_each(|queue| self.driver.forget(queue));
        self.driver.front.set_vring_enable(0, false).unwrap();
    }

    /// Begins to use the device.
    ///
    /// # Panics
    /// Where the back end refuses.
    pub fn begin(&mut self) {
        // What the guest shares it has touched.
        for queue in 0..3 {
            self.driver.forget(queue);
        }
        self.driver.ram.write(DATA, &vec![0; (BUFFER * u32::from(BUFFERS)) as usize]);
        self.driver.ram.write(OUT, &[0; 0x2_0000]);
        self.driver.ram.write(EVENT, &[0xff; 4096]);
        self.driver.activate(0);
        (0..BUFFERS).for_each(|index| self.post(index));
        self.driver.chain(EVENTS, 0, &[(EVENT, 4, true)]);
        self.driver.put(EVENTS, 0);
        self.driver.publish(EVENTS);
    }

    /// Posts a buffer.
    pub fn post(&mut self, index: u16) {
        let at = DATA + u64::from(index) * u64::from(BUFFER);
        self.driver.chain(RECEIVE, index, &[(at, BUFFER, true)]);
        self.driver.put(RECEIVE, index);
        self.driver.publish(RECEIVE);
    }

    /// Stops the device.
    pub fn stop(&mut self) {
        for queue in 0..3 {
            self.driver.stop(queue);
        }
    }

    /// Sends a packet.
    ///
    /// # Panics
    /// Where the device does not take it.
    pub fn send(&mut self, op: Op, ports: Ports, flags: u32, taken: u32, bytes: &[u8]) {
        // A header is written as the host sends it; here the guest does.
        let header = Sent {
            from_cid: CID,
            to_cid: HOST,
            ports: Ports { guest: ports.host, host: ports.guest },
            len: bytes.len() as u32,
            kind: 1,
            op,
            flags,
            credit: Credit { size: 65_536, taken },
        };
        self.driver.ram.write(OUT, &header.encode());
        self.driver.ram.write(OUT + u64::from(HEADER), bytes);
        let len = HEADER + bytes.len() as u32;
        self.driver.chain(TRANSMIT, 0, &[(OUT, len, false)]);
        self.driver.put(TRANSMIT, 0);
        self.driver.publish(TRANSMIT);
        let answer = self.driver.wait(TRANSMIT).expect("the device takes no packet");
        assert_eq!(answer, (0, 0));
    }

    /// Waits for the next packet.
    ///
    /// # Panics
    /// Where none comes.
    pub fn receive(&mut self) -> Came {
        let (head, len) = self.driver.wait(RECEIVE).expect("the device says nothing");
        let at = DATA + u64::from(head) * u64::from(BUFFER);
        let bytes = self.driver.ram.read(at, len as usize);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let op = (word(28) >> 16) as u16;
        let came = Came {
            op: Op::ALL.into_iter().find(|known| *known as u16 == op).unwrap(),
            ports: Ports { host: word(16), guest: word(20) },
            flags: word(32),
            credit: Credit { size: word(36), taken: word(40) },
            bytes: bytes[HEADER as usize..].to_vec(),
        };
        assert_eq!(word(24) as usize, came.bytes.len());
        self.post(head as u16);
        came
    }

    /// Waits for a packet of one kind, past news of credit.
    ///
    /// # Panics
    /// Where another one comes.
    pub fn expect(&mut self, op: Op) -> Came {
        loop {
            let came = self.receive();
            if came.op == op {
                return came;
            }
            assert_eq!(came.op, Op::CreditUpdate, "{came:?}");
        }
    }

    /// The event that the device has told of, if it has.
    #[must_use]
    pub fn event(&mut self) -> Option<u32> {
        self.driver.answer(EVENTS)?;
        let bytes = self.driver.ram.read(EVENT, 4);
        Some(u32::from_le_bytes(bytes.try_into().unwrap()))
    }
}
