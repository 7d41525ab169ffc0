//! What the host's kernel finishes for a guest: sums and pieces. Protects the filter from a kernel
//! that makes of an admitted frame another one, because the guest's header told it to. Cannot tell
//! what a kernel writes where: `net_process` has one.

use super::*;

/// A packet of TCP over IPv4 to the host's port 53, whose header is whole.
fn tcp() -> Vec<u8> {
    let mut frame = udp(MAC, (GUEST, 7), (HOST, 53));
    frame.truncate(38);
    (frame[17], frame[23]) = (20 + 20 + 60, 6);
    frame.extend([0; 16 + 60]);
    frame
}

/// The same over IPv6, with so many extension headers before it.
fn tcp6(extensions: u8) -> Vec<u8> {
    let mut frame = [&CARD[..], &MAC, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend([0, 8 * extensions + 80, if extensions == 0 { 6 } else { 60 }, 64]);
    frame.extend([0; 31]);
    frame.push(1);
    for index in 1..=extensions {
        frame.extend([if index == extensions { 6 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    frame.extend([0, 7, 0, 53]);
    frame.extend([0; 76]);
    frame
}

/// A header that wants a sum at `start` and `field`, and pieces of this kind.
fn header(kind: u8, start: u8, field: u8) -> [u8; HEADER] {
    let size = if kind == 0 { 0 } else { 48 };
    [1, kind, 0, 0, size, 0, start, 0, field, 0, 0, 0]
}

const RULES: &str = "egress = [{ cidr = \"10.0.0.1/32\", ports = 53, protocol = \"tcp\" }, \
     { cidr = \"10.0.0.1/32\", ports = 53, protocol = \"udp\" }, \
     { cidr = \"::1/128\", ports = 53, protocol = \"tcp\" }, \
     { cidr = \"10.0.0.1/32\", protocol = \"icmp\" }]\nrate = \"any\"";

fn machine(rules: NetworkRules) -> Machine {
    Machine::new(rules, feature::ALL)
}

/// Protects destinations that a policy does not admit: the kernel writes a sum, two bytes that a
/// guest chooses by the bytes before, where the transport of the packet that was looked at has its
/// sum, and nowhere else.
#[test]
fn a_sum_is_where_the_transport_has_it_or_the_frame_is_not_sent() {
    let icmp = || {
        let mut frame = udp(MAC, (GUEST, 0), (HOST, 0));
        (frame[17], frame[23]) = (29, 1);
        frame
    };
    let udp = || udp(MAC, (GUEST, 7), (HOST, 53));
    let sent = [
        ("TCP", tcp(), header(0, 34, 16)),
        ("pieces of TCP", tcp(), header(1, 34, 16)),
        ("UDP", udp(), header(0, 34, 6)),
        ("pieces of UDP", udp(), header(5, 34, 6)),
        ("TCP over IPv6", tcp6(0), header(0, 54, 16)),
        ("pieces of TCP over IPv6", tcp6(0), header(4, 54, 16)),
        ("TCP behind options", tcp6(2), header(4, 70, 16)),
        ("ICMP without a sum", icmp(), [0; HEADER]),
    ];
    for (what, frame, header) in sent {
        let mut machine = machine(rules(RULES));
        machine.send_with(header, &frame);
        assert_eq!(machine.came_out(), Some(frame), "{what}");
    }
    for (what, frame, header) in [
        ("the destination's address", udp(), header(0, 14, 16)),
        ("its second half", udp(), header(0, 14, 18)),
        ("the port", udp(), header(0, 34, 2)),
        ("the sum of a transport that begins elsewhere", udp(), header(0, 30, 10)),
        ("the protocol", udp(), header(0, 14, 8)),
        ("the field of TCP in UDP", udp(), header(0, 20, 16)),
        ("the field of UDP in TCP", tcp(), header(0, 34, 6)),
        ("behind the header", tcp(), header(0, 34, 20)),
        ("before extensions", tcp6(2), header(0, 54, 16)),
        ("the destination's address of IPv6", tcp6(0), header(0, 14, 24)),
        ("a sum of ICMP", icmp(), header(0, 34, 2)),
        ("pieces of UDP that are of TCP", udp(), header(1, 34, 6)),
        ("pieces of TCP that are datagrams", tcp(), header(5, 34, 16)),
        ("a sum of TCP that moved, with pieces", tcp(), header(1, 32, 18)),
    ] {
        let mut machine = machine(rules(RULES));
        machine.send_with(header, &frame);
        assert_eq!(machine.came_out(), None, "{what}");
        let heard = machine.heard.0.lock().unwrap().0.clone();
        assert_eq!(heard, [Refused { why: Refusal::Unread, times: 1 }], "{what}");
    }
}

/// Protects other cards of the link, whatever the policy: neither a sum nor a tag nor a kind of
/// hardware that only some hear makes ARP that speaks for one of them.
#[test]
fn no_header_and_no_tag_makes_a_guest_speak_for_another_card() {
    let arp = |before: &[u8], hardware: u8, sender: [u8; 6]| {
        let mut frame = [&[0xff; 6][..], &MAC, before, &[8, 6, 0, hardware]].concat();
        frame.extend([8, 0, 6, 4, 0, 2]);
        frame.extend(sender);
        frame.extend([0; 40]);
        frame
    };
    let tag = [0x81, 0, 0, 7];
    let tags = [tag, tag].concat();
    for (what, frame, header) in [
        ("a sum over the sender", arp(&[], 1, MAC), header(0, 14, 8)),
        ("a sum over a tag", arp(&tag, 1, MAC), header(0, 14, 0)),
        ("a sum over the kind behind a tag", tagged(&tag), header(0, 14, 2)),
        ("hardware of IEEE 802", arp(&[], 6, CARD), [0; HEADER]),
        ("behind a tag", arp(&tag, 1, CARD), [0; HEADER]),
        ("behind a provider's tag", arp(&[0x88, 0xa8, 0, 7], 1, CARD), [0; HEADER]),
        ("behind two", arp(&tags, 1, CARD), [0; HEADER]),
        ("behind more than are stepped over", arp(&[&tags[..], &tag].concat(), 1, CARD), [0; 12]),
    ] {
        let mut machine = machine(NetworkRules::any());
        machine.send_with(header, &frame);
        assert_eq!(machine.came_out(), None, "{what}");
    }
    // What is no ARP goes as it is, where nothing else is to be decided.
    let mut machine = machine(NetworkRules::any());
    machine.send_with(header(1, 38, 16), &tagged(&tag));
    assert_eq!(machine.came_out(), Some(tagged(&tag)));
}

/// A packet of TCP behind tags.
fn tagged(tags: &[u8]) -> Vec<u8> {
    let frame = tcp();
    [&frame[..12], tags, &frame[12..]].concat()
}
