//! The filter: what a guest may send, frame by frame and flow by flow.

use super::*;
use crate::header::Checked;

/// Protects who waits: a connection that is too early is sent later, in its place, and what is
/// behind it waits in the guest's own queue; it does not open more.
#[test]
fn a_connection_beyond_the_rate_waits_for_its_second() {
    let rate = "rate = { per_second = 1, total = 3 }\non_rate = \"throttle\"";
    let egress = "egress = [{ cidr = \"10.0.0.1/32\", ports = \"any\", protocol = \"udp\" }]";
    let mut filter = Filter::new(MAC, &rules(&format!("{egress}\n{rate}")));
    let mut ask = |port: u16, millis: u64| {
        let frame = udp(MAC, (GUEST, port), (HOST, 53));
        let head = Frame::of(&frame).unwrap();
        filter.outgoing(
            &head,
            &Checked::NOTHING,
            (&frame, frame.len()),
            Duration::from_millis(millis),
        )
    };
    assert_eq!(ask(1, 1100), Verdict::Sent);
    assert_eq!(ask(2, 1200), Verdict::Waits(Duration::from_secs(2)));
    assert_eq!(ask(1, 1300), Verdict::Sent);
    assert_eq!(ask(2, 2000), Verdict::Sent);
    assert_eq!(ask(3, 3000), Verdict::Sent);
    // No second admits a fourth.
    assert_eq!(ask(4, 3500), Verdict::Refused(Refusal::Rate));
    assert_eq!(ask(4, 4500), Verdict::Refused(Refusal::Rate));
}

#[test]
fn a_frame_that_waits_holds_back_what_is_behind_it_and_nothing_is_lost() {
    let rate = "rate = { per_second = 1, total = 9 }\non_rate = \"throttle\"";
    let mut machine = Machine::new(rules(&format!("{ONE}{rate}")), 0);
    // So late in a second that the next begins soon, and not before the first two are sent.
    let into = machine.net.began.elapsed().as_nanos() as u64 % 1_000_000_000;
    std::thread::sleep(Duration::from_nanos(1_000_000_000 - into));
    let first = udp(MAC, (GUEST, 1), (HOST, 53));
    machine.send(&first);
    assert_eq!(machine.came_out(), Some(first.clone()));
    let second = udp(MAC, (GUEST, 2), (HOST, 53));
    machine.send(&second);
    let waits = machine.net.wait_for(&mut |_, _| ());
    machine.memory.write(OUT + HEADER as u64, &first).unwrap();
    machine.offer(1, 0, &[(OUT, (HEADER + first.len()) as u32, false)]);
    while machine.came_out().is_none_or(|frame| frame != second) {
        assert!(waits.is_some_and(|waits| waits <= Duration::from_secs(1)));
        machine.turn();
    }
    machine.turn();
    assert_eq!((machine.came_out(), machine.answers(1)), (Some(first), vec![(0, 0)]));
    assert!(machine.heard.0.lock().unwrap().0.is_empty());
}

/// Protects the host's network, rule by rule.
#[test]
fn a_guest_sends_what_is_admitted_and_what_its_link_needs() {
    let v6 = |next: u8, hops: u8, to: &str, payload: &[u8]| {
        let mut frame = [&CARD[..], &MAC, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([next, hops]);
        frame.extend("fe80::2".parse::<Ipv6Addr>().unwrap().octets());
        frame.extend(to.parse::<Ipv6Addr>().unwrap().octets());
        frame.extend(payload);
        frame
    };
    let icmp = |kind: u8| [kind, 0, 0, 0, 0, 0, 0, 0];
    let options = |next: u8| [&[next, 0, 1, 4, 0, 0, 0, 0][..], &icmp(143)].concat();
    let ports =
        |from: u16, to: u16| [&from.to_be_bytes()[..], &to.to_be_bytes(), &[0, 8, 0, 0]].concat();
    let arp = |sender: [u8; 6], what: u8| {
        let head = [&[0xff; 6][..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, what], &sender].concat();
        [&head[..], &[0; 14]].concat()
    };
    let sent: [(&str, Vec<u8>); 10] = [
        ("admitted", udp(MAC, (GUEST, 7), (HOST, 53))),
        ("DHCP", udp(MAC, ([0; 4], 68), ([255; 4], 67))),
        ("ARP question", arp(MAC, 1)),
        ("ARP answer", arp(MAC, 2)),
        ("neighbour solicitation", v6(58, 255, "ff02::1:ff00:1", &icmp(135))),
        ("to an address of the link", v6(58, 255, "fe80::1", &icmp(136))),
        ("router solicitation", v6(58, 255, "ff02::2", &icmp(133))),
        ("listener report", v6(0, 1, "ff02::16", &options(58))),
        ("DHCPv6", v6(17, 1, "ff02::1:2", &ports(546, 547))),
        ("padding behind a packet", [&udp(MAC, (GUEST, 7), (HOST, 53))[..], &[0; 18]].concat()),
    ];
    for (what, frame) in sent {
        let mut machine = Machine::new(rules(&format!("{ONE}rate = \"any\"")), 0);
        machine.send(&frame);
        assert_eq!(machine.came_out(), Some(frame), "{what}");
    }
    let change = |at: usize, to: u8| {
        let mut frame = udp(MAC, (GUEST, 7), (HOST, 53));
        frame[at] = to;
        frame
    };
    let unread = Refusal::Unread;
    let there = Refusal::Destination;
    for (what, frame, why) in [
        ("another port", udp(MAC, (GUEST, 7), (HOST, 54)), there),
        ("another address", udp(MAC, (GUEST, 7), ([10, 0, 0, 9], 53)), there),
        ("another card", udp(CARD, (GUEST, 7), (HOST, 53)), Refusal::Source),
        ("ARP for another card", arp(CARD, 2), Refusal::Source),
        ("another question of ARP", arp(MAC, 3), Refusal::Source),
        ("IEEE 802.3, behind whose header ARP may be", change(12, 0), Refusal::Source),
        ("DHCP to a host", udp(MAC, ([0; 4], 68), (HOST, 67)), there),
        ("another version", change(14, 0x55), unread),
        ("options", change(14, 0x46), unread),
        ("a first fragment", change(20, 0x20), unread),
        ("a later fragment", change(21, 1), unread),
        ("longer than its frame", change(17, 30), unread),
        ("shorter than its header", change(17, 19), unread),
        ("no whole header of UDP", change(17, 27), unread),
        ("a protocol that is not known", change(23, 47), unread),
        ("a tag, and behind it a length", change(12, 0x81), Refusal::Source),
        ("neighbour discovery that passed a router", v6(58, 254, "fe80::1", &icmp(136)), there),
        ("neighbour discovery to elsewhere", v6(58, 255, "2001:db8::1", &icmp(135)), there),
        ("a report that goes further", v6(0, 2, "ff02::16", &options(58)), there),
        ("options that are not first", v6(60, 1, "ff02::16", &options(0)), unread),
        ("a routing header", v6(43, 255, "fe80::1", &options(58)), unread),
        ("a fragment of IPv6", v6(44, 255, "fe80::1", &options(58)), unread),
        ("a jumbogram", v6(0, 255, "fe80::1", &[]), unread),
    ] {
        let mut machine = Machine::new(rules(&format!("{ONE}rate = \"any\"")), 0);
        machine.send(&frame);
        assert_eq!(machine.came_out(), None, "{what}");
        let heard = machine.heard.0.lock().unwrap().0.clone();
        assert_eq!(heard, [Refused { why, times: 1 }], "{what}");
    }
}

/// Protects a guest that serves, and everybody from one that only was asked.
#[test]
fn an_answer_goes_where_the_question_came_from_and_nowhere_else() {
    let mut machine = Machine::new(rules("egress = []"), 0);
    machine.offer(0, 0, &[(IN, 0x100, true)]);
    machine.comes_in(&to_the_guest(udp(CARD, (HOST, 9), (GUEST, 80))));
    machine.turn();
    let answer = udp(MAC, (GUEST, 80), (HOST, 9));
    machine.send(&answer);
    assert_eq!(machine.came_out(), Some(answer));
    for other in [
        udp(MAC, (GUEST, 81), (HOST, 9)),
        udp(MAC, (GUEST, 80), (HOST, 10)),
        udp(MAC, (GUEST, 80), ([10, 0, 0, 3], 9)),
        udp(MAC, ([10, 0, 0, 3], 80), (HOST, 9)),
    ] {
        machine.send(&other);
        assert_eq!(machine.came_out(), None);
    }
}

/// Protects others on a bridge: what it floods to every card is no question to this one.
#[test]
fn what_was_sent_to_another_card_may_not_be_answered() {
    let mut machine = Machine::new(rules("egress = []\nrate = \"any\""), 0);
    machine.comes_in(&udp(MAC, (HOST, 9), (GUEST, 80)));
    machine.send(&udp(MAC, (GUEST, 80), (HOST, 9)));
    assert_eq!(machine.came_out(), None);
}

#[test]
fn echoes_are_told_apart_and_other_messages_need_a_flow_of_their_own() {
    let echo = |source, from: [u8; 4], to: [u8; 4], kind: u8, id: u8| {
        let mut frame = udp(source, (from, 0), (to, 0));
        frame.truncate(34);
        (frame[17], frame[23]) = (28, 1);
        frame.extend([kind, 0, 0, 0, 0, id, 0, 1]);
        frame
    };
    let mut filter = Filter::new(MAC, &rules("egress = []"));
    let question = to_the_guest(echo(CARD, HOST, GUEST, 8, 7));
    filter.incoming(&question, question.len(), Duration::ZERO);
    let mut ask = |frame: &[u8]| {
        let looked_at = (frame, frame.len());
        let head = Frame::of(frame).unwrap();
        filter.outgoing(&head, &Checked::NOTHING, looked_at, Duration::ZERO)
    };
    assert_eq!(ask(&echo(MAC, GUEST, HOST, 0, 7)), Verdict::Sent);
    let refused = Verdict::Refused(Refusal::Destination);
    assert_eq!(ask(&echo(MAC, GUEST, HOST, 0, 8)), refused);
    assert_eq!(ask(&echo(MAC, GUEST, HOST, 3, 7)), refused);
}

#[test]
fn options_of_ipv6_are_stepped_over_and_not_without_end() {
    let chain = |count: usize, eights: u8| {
        let mut frame = [&CARD[..], &MAC, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        let options = count * 8 * (usize::from(eights) + 1);
        frame.extend(((options + 8) as u16).to_be_bytes());
        frame.extend([if count == 0 { 17 } else { 60 }, 64]);
        frame.extend([0; 31]);
        frame.push(1);
        for index in 0..count {
            frame.extend([if index + 1 == count { 17 } else { 60 }, eights]);
            frame.extend(vec![0; 8 * (usize::from(eights) + 1) - 2]);
        }
        frame.extend([0, 7, 0, 53, 0, 8, 0, 0]);
        let head = frame.get(..crate::HEAD).unwrap_or(&frame);
        Frame::of(head).unwrap().content(head, frame.len())
    };
    for count in 0..=4 {
        let Ok(Content::Ip(packet)) = chain(count, 0) else { panic!("{count}") };
        assert_eq!(packet.transport, Transport::Udp(7, 53));
        assert_eq!(packet.endpoint().address, IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
    assert_eq!(chain(5, 0), Err(Unread::Protocol));
    assert_eq!(chain(1, 30), Err(Unread::Length), "headers longer than what is looked at");
}

proptest! {
    /// Whatever a guest writes: a frame is read or it is not, and what is read is within it.
    #[test]
    fn any_frame_is_read_or_is_not(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0_usize..4,
        more in 0_usize..2000,
    ) {
        let mut bytes = bytes;
        let kinds = [[8, 0], [8, 6], [0x86, 0xdd], [0, 0]];
        if let Some(at) = bytes.get_mut(12..15) {
            at[..2].copy_from_slice(&kinds[kind]);
            at[2] = [0x45, 0, 0x60, 0][kind];
        }
        let head = bytes.get(..crate::HEAD).unwrap_or(&bytes);
        if let Ok(frame) = Frame::of(head)
            && let Ok(Content::Ip(packet)) = frame.content(head, bytes.len() + more)
        {
            prop_assert_eq!(packet.flow_out().guest, packet.source);
            prop_assert_eq!(packet.flow_in().other, packet.source);
        }
    }
}
