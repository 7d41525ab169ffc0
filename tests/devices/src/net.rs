//! A guest's side of a network device: buffers for what comes, frames, and the packets of which
//! tests make them.

use crate::driver::{DATA, Driver};
use crate::memory::GuestRam;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use vhost::vhost_user::VhostUserFrontend;

/// The guest's address on the link, and in the network.
pub const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
/// The guest's address.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// The host's.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Bytes of a header in front of a frame.
pub const HEADER: usize = 12;
/// Bytes of a buffer, as Linux posts them with merged buffers.
pub const BUFFER: u32 = 1536;
const BUFFERS: u16 = 64;
const OUT: u64 = DATA + 0x40_0000;
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its driver.
    pub driver: Driver,
}

impl Guest {
    /// Connects to a back end: memory and every descriptor; no ring is enabled yet.
    ///
    /// # Panics
    /// Where the back end refuses.
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self { driver: Driver::negotiate(socket, 2, GuestRam::new(16 << 20)) }
    }

    /// Ends the set-up, as a VM of ours does, with rings that are cleared.
    ///
    /// # Panics
    /// Where the back end refuses.
    pub fn that_was_all(&mut self) {
        (0..2).for_each(|queue| self.driver.forget(queue));
        self.driver.front.set_vring_enable(0, false).unwrap();
    }

    /// Begins to use the device with these features.
    ///
    /// # Panics
    /// Where the back end refuses.
    pub fn begin(&mut self, features: u64) {
        (0..2).for_each(|queue| self.driver.forget(queue));
        // What the guest shares it has touched.
        self.driver.ram.write(DATA, &vec![0; (BUFFER * u32::from(BUFFERS)) as usize]);
        self.driver.ram.write(OUT, &[0; 0x2_0000]);
        self.driver.activate(features & self.driver.offered);
        (0..BUFFERS).for_each(|index| self.post(index));
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
        (0..2).for_each(|queue| {
            self.driver.stop(queue);
        });
    }

    /// Sends a frame with this header in front.
    ///
    /// # Panics
    /// Where the device does not take it.
    pub fn send_with(&mut self, header: [u8; HEADER], frame: &[u8]) {
        self.give(header, frame);
        assert_eq!(self.driver.wait(TRANSMIT).expect("the device takes no frame"), (0, 0));
    }

    /// The same without waiting for the device.
    pub fn give(&mut self, header: [u8; HEADER], frame: &[u8]) {
        self.driver.ram.write(OUT, &header);
        self.driver.ram.write(OUT + HEADER as u64, frame);
        let len = frame.len() as u32;
        let (first, at) = (HEADER as u32, OUT + HEADER as u64);
        self.driver.chain(TRANSMIT, 0, &[(OUT, first, false), (at, len, false)]);
        self.driver.put(TRANSMIT, 0);
        self.driver.publish(TRANSMIT);
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: &[u8]) {
        self.send_with([0; HEADER], frame);
    }

    /// Waits for the next frame: its header, its bytes.
    ///
    /// # Panics
    /// Where none comes.
    pub fn receive(&mut self) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = self.buffer();
        let header: Vec<u8> = bytes.drain(..HEADER).collect();
        for _ in 1..u16::from_le_bytes([header[10], header[11]]) {
            bytes.extend(self.buffer());
        }
        (header, bytes)
    }

    fn buffer(&mut self) -> Vec<u8> {
        let (head, len) = self.driver.wait(RECEIVE).expect("the device says nothing");
        let at = DATA + u64::from(head) * u64::from(BUFFER);
        let bytes = self.driver.ram.read(at, len as usize);
        self.post(head as u16);
        bytes
    }

    /// Waits for a frame with these bytes at its end, past what a host sends of itself.
    pub fn receive_ending(&mut self, end: &[u8]) -> (Vec<u8>, Vec<u8>) {
        loop {
            let (header, frame) = self.receive();
            if frame.ends_with(end) {
                return (header, frame);
            }
        }
    }

    /// Asks who has the host's address; who says so.
    ///
    /// # Panics
    /// Where nobody does.
    pub fn resolve(&mut self) -> [u8; 6] {
        self.send(&arp(MAC));
        loop {
            let (_, frame) = self.receive();
            if frame[12..14] == [8, 6] && frame[20..22] == [0, 2] {
                return frame[22..28].try_into().unwrap();
            }
        }
    }
}

/// A question for the host's address by who says to be this card.
#[must_use]
pub fn arp(sender: [u8; 6]) -> Vec<u8> {
    let mut frame = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &sender].concat();
    frame.extend(GUEST.octets());
    frame.extend([0; 6]);
    frame.extend(HOST.octets());
    frame
}

/// A datagram of IPv4 for a card, from the guest: where it goes, ports, bytes; without a checksum
/// of its own, as it may be.
#[must_use]
pub fn udp(card: [u8; 6], to: Ipv4Addr, ports: (u16, u16), bytes: &[u8]) -> Vec<u8> {
    let len = 8 + bytes.len() as u16;
    let mut frame = ipv4(card, to, 17, len);
    frame.extend(ports.0.to_be_bytes());
    frame.extend(ports.1.to_be_bytes());
    frame.extend(len.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(bytes);
    frame
}

/// The headers of a packet of the guest with so many bytes behind them.
#[must_use]
pub fn ipv4(card: [u8; 6], to: Ipv4Addr, protocol: u8, len: u16) -> Vec<u8> {
    let mut frame = [&card[..], &MAC, &[8, 0, 0x45, 0]].concat();
    frame.extend((20 + len).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    frame.extend(GUEST.octets());
    frame.extend(to.octets());
    let sum = sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The checksum of the Internet (RFC 1071) over a header.
fn sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
