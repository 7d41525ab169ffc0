//! What comes out of a guest's frames, and what a guest gets.

use crate::place::{Device, device, one_port, raw_device, rules};
use casemate_device_net::{Refusal, Refused, feature};
use casemate_device_process::{DONE, FAILED, FromDevice, FrontEnd};
use casemate_policy::NetworkRules;
use casemate_sandbox::Exit;
use casemate_test_devices::net::{GUEST, Guest, HOST, MAC, arp, ipv4, udp};
use casemate_test_support::device::said;
use std::net::Ipv4Addr;

const BUFFERS: u64 = feature::MRG_RXBUF;
const ALL: u64 = feature::ALL;

/// A datagram of the host's to the guest, which knows the host by now.
fn answer(device: &Device, port: u16, bytes: &[u8]) {
    device.host.send_to(bytes, (GUEST, port)).unwrap();
}

pub fn frames_reach_the_host_and_its_answers_the_guest() {
    for features in [0, BUFFERS, ALL] {
        let mut device = device(NetworkRules::any(), features);
        let card = device.guest.resolve();
        device.guest.send(&udp(card, HOST, (7, device.port()), b"to the host"));
        assert_eq!(device.heard(), b"to the host");
        answer(&device, 7, b"to the guest");
        let (header, frame) = device.guest.receive_ending(b"to the guest");
        assert_eq!((&frame[..6], header[10], header[11]), (&MAC[..], 1, 0));
        drop(device.guest);
        assert_eq!(device.child.wait().unwrap(), Exit::Code(DONE));
    }
}

pub fn a_large_packet_comes_in_several_buffers_and_is_whole() {
    let mut device = device(NetworkRules::any(), ALL);
    let card = device.guest.resolve();
    // Two datagrams in one frame, where the kernel cuts those of UDP: each arrives.
    let bytes: Vec<u8> = (0..2400_u32).map(|n| n as u8).collect();
    let offered = device.guest.driver.offered;
    if offered & feature::HOST_USO != 0 {
        let mut frame = udp(card, HOST, (7, device.port()), &bytes);
        // The sum of the pseudo header, which the kernel completes.
        let sum = pseudo(8 + 2400);
        frame[40..42].copy_from_slice(&sum.to_be_bytes());
        device.guest.send_with([1, 5, 42, 0, 0xb0, 4, 34, 0, 6, 0, 0, 0], &frame);
        assert_eq!([device.heard(), device.heard()].concat(), bytes);
    }
    // A datagram that is larger than a buffer comes in two.
    let long = vec![0x5a; 1470];
    device.guest.send(&udp(card, HOST, (7, device.port()), b"x"));
    assert_eq!(device.heard(), b"x");
    answer(&device, 7, &long);
    let (header, frame) = device.guest.receive_ending(&long);
    assert_eq!((header[10], frame.len()), (1, 42 + 1470));
}

/// The sum over the pseudo header of a datagram of the guest to the host.
fn pseudo(len: u16) -> u16 {
    let words = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]))
    };
    let mut sum = words(GUEST) + words(HOST) + 17 + u32::from(len);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Protects the host's network: of everything that a guest sends, what its policy admits comes out,
/// and who watches is told of the rest.
pub fn what_a_policy_admits_reaches_the_host_and_nothing_else_does() {
    let (child, control, socket, host) = {
        let nothing = rules("egress = []");
        raw_device(FrontEnd::Ours, nothing, |_| ())
    };
    drop((child, control, socket, host));
    let probe = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = probe.local_addr().unwrap().port();
    let rate = "rate = { per_second = 100, total = 100 }";
    let mut device = device(one_port(port, rate), BUFFERS);
    let admitted = std::net::UdpSocket::bind((HOST, port)).unwrap();
    admitted.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
    let card = device.guest.resolve();
    let refused = device.port();
    let to = |port: u16, bytes: &[u8]| udp(card, HOST, (7, port), bytes);
    let mut fragment = to(port, b"fragment");
    fragment[20] |= 0x20;
    let mut other = to(port, b"another card");
    other[11] ^= 1;
    let mut options = to(port, b"options");
    options[14] = 0x46;
    for frame in [
        to(refused, b"another port"),
        udp(card, Ipv4Addr::new(10, 9, 0, 77), (7, port), b"another address"),
        fragment,
        other,
        options,
        arp([0x52, 0x54, 0, 0, 0, 9]),
        ipv4(card, HOST, 47, 0),
        [&card[..], &MAC, &[0x81, 0, 0, 1, 8, 0]].concat(),
    ] {
        device.guest.send(&frame);
    }
    device.guest.send(&to(port, b"admitted"));
    let mut bytes = [0; 64];
    let (len, from) = admitted.recv_from(&mut bytes).unwrap();
    assert_eq!((&bytes[..len], from.ip()), (&b"admitted"[..], GUEST.into()));
    // Whatever else had come out would have come before.
    for socket in [&admitted, &device.host] {
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv_from(&mut bytes).is_err(), "something else came out");
    }
    assert_eq!(said(&device.control), Some(FromDevice::Locked));
    let mut told = Vec::new();
    for _ in 0..6 {
        let Some(FromDevice::Refused(refused)) = said(&device.control) else { panic!("{told:?}") };
        told.push(refused);
    }
    let of = |why, times| Refused { why, times };
    assert_eq!(
        told,
        [
            of(Refusal::Destination, 1),
            of(Refusal::Destination, 2),
            of(Refusal::Unread, 1),
            of(Refusal::Source, 1),
            of(Refusal::Unread, 2),
            of(Refusal::Source, 2),
        ]
    );
}

/// Protects a guest that serves: it may answer, wherever the question came from. And the host: what
/// may answer may not begin.
pub fn a_guest_answers_who_begins_and_may_not_begin_itself() {
    let mut device = device(rules("egress = []"), BUFFERS);
    let card = device.guest.resolve();
    device.guest.send(&udp(card, HOST, (7, device.port()), b"begins"));
    answer(&device, 7, b"question");
    device.guest.receive_ending(b"question");
    device.guest.send(&udp(card, HOST, (7, device.port()), b"answer"));
    assert_eq!(device.heard(), b"answer");
}

pub fn a_policy_ends_a_guest_that_opens_too_many_connections() {
    for (action, ends) in [("deny", false), ("kill", true)] {
        let rate = format!("rate = {{ per_second = 2, total = 2 }}\non_rate = \"{action}\"");
        let egress =
            format!("egress = [{{ cidr = \"{HOST}/32\", ports = \"any\", protocol = \"udp\" }}]");
        let mut device = device(rules(&format!("{egress}\n{rate}")), BUFFERS);
        let card = device.guest.resolve();
        let port = device.port();
        for from in 1..=2 {
            device.guest.send(&udp(card, HOST, (from, port), b"one of two"));
            assert_eq!(device.heard(), b"one of two");
        }
        // A flow that is known opens nothing.
        device.guest.send(&udp(card, HOST, (1, port), b"again"));
        assert_eq!(device.heard(), b"again");
        device.guest.give([0; 12], &udp(card, HOST, (3, port), b"the third"));
        assert_eq!(said(&device.control), Some(FromDevice::Locked));
        match said(&device.control) {
            Some(FromDevice::OverRate) if ends => {
                assert_eq!(device.child.wait().unwrap(), Exit::Code(FAILED));
            }
            Some(FromDevice::Refused(Refused { why: Refusal::Rate, times: 1 })) if !ends => {}
            other => panic!("{action}: {other:?}"),
        }
        device.host.set_nonblocking(true).unwrap();
        assert!(device.host.recv_from(&mut [0; 64]).is_err(), "the third came out");
    }
}

/// Protects every guest of a device: one frame that cannot be loses only itself.
pub fn frames_that_cannot_be_are_answered_and_the_queue_goes_on() {
    let mut device = device(NetworkRules::any(), ALL);
    let card = device.guest.resolve();
    let frame = udp(card, HOST, (7, device.port()), b"whole");
    for header in [
        [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], // a sum far outside
        [1, 1, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0],            // pieces of no bytes
        [0, 1, 0, 0, 0xb4, 5, 0, 0, 0, 0, 0, 0],          // pieces without a sum
        [1, 0x77, 0, 0, 0xb4, 5, 34, 0, 6, 0, 0, 0],      // a kind that there is not
        [1, 4, 0, 0, 0xb4, 5, 34, 0, 6, 0, 0, 0],         // another version of IP
    ] {
        device.guest.send_with(header, &frame);
    }
    device.guest.send(&frame[..13]);
    device.guest.send(&[0; 0x1_8000]);
    device.guest.send(&frame);
    assert_eq!(device.heard(), b"whole");
    device.host.set_nonblocking(true).unwrap();
    assert!(device.host.recv_from(&mut [0; 64]).is_err(), "another one came out");
}

/// Protects a guest that boots twice: firmware first, then a kernel, which takes other frames.
pub fn a_second_driver_begins_anew_with_other_features() {
    let mut device = device(NetworkRules::any(), ALL);
    for features in [0, ALL, BUFFERS] {
        device.guest.stop();
        device.guest.begin(features);
        let card = device.guest.resolve();
        device.guest.send(&udp(card, HOST, (7, device.port()), b"again"));
        assert_eq!(device.heard(), b"again");
        answer(&device, 7, b"and back");
        let (header, _) = device.guest.receive_ending(b"and back");
        // Without the feature a driver is told of no sum that is still to be made.
        assert!(features != 0 || header[..10] == [0; 10], "{header:?}");
    }
    let Device { guest, mut child, .. } = device;
    let Guest { driver } = guest;
    drop(driver);
    assert_eq!(child.wait().unwrap(), Exit::Code(DONE));
}
