//! The machine against a model of what it is for: two ends that each send a pattern. Protects:
//! whatever guest and host do, in whatever order, each end gets the bytes of the other in order and
//! once, never more than it has room for, nothing after its end, and all of them where both go on.
//! Cannot tell of time, which stands still here.

use crate::packet::{Credit, NO_RECEIVE, NO_SEND, Op, Ports};
use crate::tests::{BUFFER, FromGuest, Host, NOW, TestStream, World, packet};
use proptest::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

/// Room that the guest has for each connection.
const ROOM: u32 = 700;
/// Connections at once.
const PLACES: u16 = 3;

/// The byte at a place of one direction of one connection.
fn pattern(connection: u32, at: usize) -> u8 {
    (at as u32).wrapping_mul(31).wrapping_add(connection.wrapping_mul(17)) as u8
}

/// One connection, as both ends remember it.
struct Ends {
    ports: Ports,
    host: Rc<RefCell<Host>>,
    /// Bytes that the guest has sent, and of those what it was told was taken.
    sent: u32,
    told: u32,
    /// Bytes that the host has said.
    said: usize,
    /// Bytes that the guest has got, and of those what it has taken.
    got: usize,
    taken: usize,
    guest_sends: bool,
    guest_receives: bool,
    /// The host's last word has come.
    host_sends: bool,
    open: bool,
}

impl Ends {
    fn send(&self, world: &mut World, op: Op, flags: u32, bytes: Vec<u8>) {
        let credit = Credit { size: ROOM, taken: self.taken as u32 };
        world.send(&FromGuest { flags, bytes, credit, ..packet(op, self.ports) });
    }
}

struct Model {
    world: World,
    ends: Vec<Ends>,
    next_port: u32,
}

impl Model {
    fn connect(&mut self, takes: usize) {
        let ports = Ports { guest: self.next_port, host: 52 };
        self.next_port += 1;
        let open = self.ends.iter().filter(|ends| ends.open).count();
        if open >= PLACES.into() || !self.world.machine.has_place() {
            return;
        }
        let credit = Credit { size: ROOM, taken: 0 };
        self.world.send(&FromGuest { credit, ..packet(Op::Request, ports) });
        let dial = self.world.machine.next_dial().unwrap();
        let (stream, host) = TestStream::new(takes);
        self.world.machine.dialed(dial, Some(stream));
        self.ends.push(Ends {
            ports,
            host,
            sent: 0,
            told: 0,
            said: 0,
            got: 0,
            taken: 0,
            guest_sends: true,
            guest_receives: true,
            host_sends: true,
            open: true,
        });
    }

    /// What polling would show of each stream.
    fn poll(&mut self) {
        for index in 0..self.world.machine.places.len() {
            let place = &self.world.machine.places[index];
            let Some(stream) = place.stream.as_ref().filter(|_| !place.hung_up) else { continue };
            let (reads, writes) = place.wants();
            let host = stream.0.borrow();
            let readable = reads && (!host.says.is_empty() || host.ended || host.gone);
            let (writable, gone) = (writes && (host.takes > 0 || host.gone), host.gone);
            drop(host);
            if readable || writable || gone {
                self.world.machine.seen(index, readable, writable, gone);
            }
        }
        self.world.machine.settle(NOW);
    }

    /// Takes at most so many packets, each in a buffer of this size.
    fn take(&mut self, most: usize, buffer: u32) -> usize {
        let mut count = 0;
        while count < most {
            let Some((sent, bytes)) = self.world.next_in(buffer) else { break };
            count += 1;
            let Some(ends) = self.ends.iter_mut().rev().find(|ends| ends.ports == sent.ports)
            else {
                panic!("a packet of nobody's: {sent:?}");
            };
            assert!(ends.open || sent.op == Op::Reset, "after its end: {sent:?}");
            if sent.op != Op::Reset {
                let news = sent.credit.taken.wrapping_sub(ends.told);
                assert!(news <= ends.sent - ends.told, "more is taken than was sent");
                assert_eq!(sent.credit.size, BUFFER);
                ends.told = sent.credit.taken;
            }
            match sent.op {
                Op::Data => {
                    assert!(ends.host_sends && ends.guest_receives, "after an end");
                    for byte in &bytes {
                        assert_eq!(*byte, pattern(ends.ports.guest, ends.got));
                        ends.got += 1;
                    }
                    assert!(ends.got - ends.taken <= ROOM as usize, "more than there is room for");
                }
                Op::Shutdown if sent.flags & NO_SEND != 0 => ends.host_sends = false,
                Op::Reset => ends.open = false,
                _ => {}
            }
        }
        count
    }

    /// What the host has heard is what the guest has sent, so far.
    fn check(&self) {
        for ends in &self.ends {
            let host = ends.host.borrow();
            assert!(host.heard.len() <= ends.sent as usize);
            let right = |(at, byte): (usize, &u8)| *byte == pattern(!ends.ports.guest, at);
            assert!(host.heard.iter().enumerate().all(right), "out of order");
        }
    }

    fn step(&mut self, op: u8, which: u8, n: u16) {
        if op == 0 {
            return self.connect(n.into());
        }
        let open: Vec<usize> = (0..self.ends.len()).filter(|i| self.ends[*i].open).collect();
        let Some(index) = open.get(usize::from(which) % open.len().max(1)) else { return };
        let (ends, world) = (&mut self.ends[*index], &mut self.world);
        if !world.machine.can_take() {
            return;
        }
        match op {
            1 | 2 if ends.guest_sends => {
                // Within the credit, as a driver does.
                let room = BUFFER - (ends.sent - ends.told);
                let len = u32::from(n).min(room);
                let from = ends.sent as usize;
                let bytes = (0..len as usize).map(|i| pattern(!ends.ports.guest, from + i));
                ends.send(world, Op::Data, 0, bytes.collect());
                ends.sent += len;
            }
            3 | 4 => {
                let mut host = ends.host.borrow_mut();
                if !host.ended && !host.gone {
                    let from = ends.said;
                    let bytes = (0..usize::from(n)).map(|i| pattern(ends.ports.guest, from + i));
                    host.says.extend(bytes);
                    ends.said += usize::from(n);
                }
            }
            5 => ends.host.borrow_mut().takes += usize::from(n),
            6 | 7 => {
                ends.taken += usize::from(n).min(ends.got - ends.taken);
                ends.send(world, Op::CreditUpdate, 0, Vec::new());
            }
            8 => {
                ends.guest_sends = false;
                ends.send(world, Op::Shutdown, NO_SEND, Vec::new());
            }
            9 => {
                ends.guest_receives = false;
                ends.send(world, Op::Shutdown, NO_RECEIVE, Vec::new());
            }
            10 => ends.host.borrow_mut().ended = true,
            11 => ends.host.borrow_mut().gone = true,
            12 => {
                ends.send(world, Op::Reset, 0, Vec::new());
                ends.open = false;
            }
            13 => ends.send(world, Op::CreditRequest, 0, Vec::new()),
            _ => {}
        }
    }

    /// Lets everything flow until nothing moves any more.
    fn drain(&mut self) {
        for _ in 0..1000 {
            for index in 0..self.ends.len() {
                let ends = &mut self.ends[index];
                ends.host.borrow_mut().takes = 1 << 20;
                if ends.open && ends.taken < ends.got {
                    ends.taken = ends.got;
                    self.ends[index].send(&mut self.world, Op::CreditUpdate, 0, Vec::new());
                }
            }
            self.poll();
            if self.take(usize::MAX, 1000) == 0 {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

proptest! {
    #[test]
    fn whatever_both_sides_do_bytes_stay_in_order_and_within_their_credit(
        steps in prop::collection::vec((0_u8..14, any::<u8>(), 0_u16..900), 1..120),
        buffer in 45_u32..1000,
    ) {
        let mut model = Model { world: World::new(PLACES), ends: Vec::new(), next_port: 1000 };
        model.connect(100);
        for (op, which, n) in steps {
            model.step(op, which, n);
            model.poll();
            model.take(usize::from(n % 4), buffer);
            model.check();
        }
        model.drain();
        model.check();
        for ends in &model.ends {
            let host = ends.host.borrow();
            if !ends.open {
                continue;
            }
            if !host.gone {
                prop_assert_eq!(host.heard.len(), ends.sent as usize, "bytes of the guest are lost");
            }
            if ends.guest_receives {
                prop_assert_eq!(ends.got, ends.said, "bytes of the host are lost");
            }
            // Each end is told of the other's.
            prop_assert!(ends.guest_sends || host.sending_ended || host.gone);
            prop_assert!(!(host.ended || host.gone) || !ends.host_sends || !ends.guest_receives);
        }
        // What is over leaves its place.
        let open = model.ends.iter().filter(|ends| ends.open).count();
        prop_assert_eq!(model.world.machine.connections(), open);
    }
}
